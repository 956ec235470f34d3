#include "common/wire_guard.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/check.h"
#include "common/run.h"
#include "common/status.h"
#include "common/wire_limits.h"
#include "wire.pb.h"

namespace whippletree {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr uint32_t kNoLimit = UINT32_MAX;
// Parts of one message: entries of lists of messages and of strings, other messages in it, fields
// that are not known. The most that an honest one has is that of a batch whose jobs each have an
// item with a result and a follow-on job.
constexpr uint32_t kPartsMax = 6 * kJobsPerRunMax;
// Of a text that has no limit here. What is just beyond its own limit gets better words later.
constexpr uint32_t kTextBytesMax = 1024;

struct Limit {
  std::string_view field;
  uint32_t max;
};

// Entries of what the broker is sent. Lists that only a broker sends have no limit.
constexpr Limit kEntries[] = {
    {"Run.sizes", kJobsPerRunMax},
    {"Hello.streams", kStreamsPerProducerMax},
    {"Hello.groups", kGroupsPerMessage},
    {"Hello.credits", kQueuesPerWorkerMax},
    {"Hello.leases", kLeasesPerHelloMax},
    {"Hello.lease_secrets", kLeasesPerHelloMax},
    {"Heartbeat.credits", kQueuesPerWorkerMax},
    {"OutcomeAck.streams", kStreamsPerAck},
    {"GroupAck.groups", kGroupsPerMessage},
    {"Submit.names", kJobsPerRunMax},
    {"Cancel.firsts", kCancelRangesPerMessage},
    {"Cancel.counts", kCancelRangesPerMessage},
    {"CloseGroup.counts", kStreamsPerProducerMax},
    {"Report.items", kJobsPerRunMax},
    {"Report.credits", kQueuesPerWorkerMax},
    {"ReportItem.follow_ons", kJobsPerRunMax},
    {"DeadRequest.ids", 4096},
};

// Bytes of texts and of payloads.
constexpr Limit kBytes[] = {
    {"Run.block", kNoLimit},
    {"Hello.software", kSoftwareBytesMax},
    {"Hello.store_id", 64},
    // What a handler said; the broker cuts it.
    {"Status.message", 16 * kStatusMessageBytesMax},
    {"PoliciesReply.yaml", kNoLimit},
    {"DeadJob.payload", kNoLimit},
};

// Numbers that name something and are never added to: any value may be there.
constexpr std::string_view kNames[] = {"session", "token",  "leases", "leases_kept",
                                       "attempt", "commit", "stream", "id"};

uint32_t LimitOf(std::span<const Limit> limits, std::string_view field, uint32_t otherwise) {
  const auto found = std::find_if(limits.begin(), limits.end(),
                                  [&](const Limit& limit) { return limit.field == field; });
  return found == limits.end() ? otherwise : found->max;
}

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytesType = 2, kFixed32 = 5 };

struct Message;

struct Field {
  const FieldDescriptor* descriptor = nullptr;  // null: there is no such field
  WireType type = kVarint;
  bool packable = false;            // a list of numbers: several may be in one piece
  int slot = -1;                    // where its entries are counted; -1: they are not
  uint32_t entries_max = kNoLimit;  // of a list; 1 of a message that is no list
  uint32_t bytes_max = kNoLimit;
  uint64_t number_max = UINT64_MAX;
  const Message* message = nullptr;
};

struct Message {
  std::vector<Field> fields;  // by number
  int slots = 0;
};

// Parts of a message are counted on the stack.
constexpr int kSlotsMax = 16;

std::string NameOf(const FieldDescriptor& field) {
  return field.containing_type()->name() + "." + field.name();
}

WireType WireTypeOf(const FieldDescriptor& field) {
  switch (field.type()) {
    case FieldDescriptor::TYPE_FIXED64:
    case FieldDescriptor::TYPE_SFIXED64:
    case FieldDescriptor::TYPE_DOUBLE:
      return kFixed64;
    case FieldDescriptor::TYPE_FIXED32:
    case FieldDescriptor::TYPE_SFIXED32:
    case FieldDescriptor::TYPE_FLOAT:
      return kFixed32;
    case FieldDescriptor::TYPE_STRING:
    case FieldDescriptor::TYPE_BYTES:
    case FieldDescriptor::TYPE_MESSAGE:
      return kBytesType;
    default:
      return kVarint;
  }
}

// What each message may have, made of the description that protobuf has of it, once.
class Tables {
 public:
  Tables() : envelope_(Of(wire::Envelope::descriptor())) {}
  const Message& envelope() const { return *envelope_; }

 private:
  const Message* Of(const Descriptor* type) {
    std::unique_ptr<Message>& message = messages_[type];
    if (message != nullptr) return message.get();
    message = std::make_unique<Message>();
    Message* const made = message.get();
    for (int i = 0; i < type->field_count(); ++i) {
      const FieldDescriptor& descriptor = *type->field(i);
      const auto number = static_cast<size_t>(descriptor.number());
      if (made->fields.size() <= number) made->fields.resize(number + 1);
      made->fields[number] = Make(descriptor, made);
    }
    WT_CHECK(made->slots <= kSlotsMax);
    return made;
  }

  Field Make(const FieldDescriptor& descriptor, Message* message) {
    Field field;
    field.descriptor = &descriptor;
    field.type = WireTypeOf(descriptor);
    const Descriptor& type = *descriptor.containing_type();
    const std::string name = NameOf(descriptor);
    const bool is_list = descriptor.is_repeated();
    if (descriptor.type() == FieldDescriptor::TYPE_MESSAGE) {
      field.message = Of(descriptor.message_type());
      if (!is_list) field.entries_max = 1;  // protobuf would join two
      // The bodies of an envelope are counted apart.
      if (type.name() == "Envelope") field.entries_max = kNoLimit;
    } else if (field.type == kBytesType) {
      field.bytes_max = LimitOf(kBytes, name, kTextBytesMax);
    } else {
      field.packable = is_list;
      const bool is_name =
          std::find(std::begin(kNames), std::end(kNames), descriptor.name()) != std::end(kNames);
      if (descriptor.type() == FieldDescriptor::TYPE_UINT64 && !is_name) {
        field.number_max = kNumberMax;
      }
    }
    if (is_list) field.entries_max = LimitOf(kEntries, name, kNoLimit);
    if (field.entries_max == kNoLimit) return field;
    // Of a oneof there is one.
    const auto* oneof = descriptor.containing_oneof();
    int* const slot = oneof == nullptr ? nullptr : &slots_[oneof];
    field.slot = slot != nullptr && *slot > 0 ? *slot - 1 : message->slots++;
    if (slot != nullptr) *slot = field.slot + 1;
    return field;
  }

  std::map<const Descriptor*, std::unique_ptr<Message>> messages_;
  std::map<const google::protobuf::OneofDescriptor*, int> slots_;  // beyond them
  const Message* envelope_;
};

bool IsFor(Receiver receiver, int body) {
  switch (body) {
    case wire::Envelope::kHello:
    case wire::Envelope::kOpenStream:
    case wire::Envelope::kOutcomeAck:
    case wire::Envelope::kGroupAck:
    case wire::Envelope::kAdminRequest:
      return receiver == Receiver::kDoor;
    case wire::Envelope::kHeartbeat:
    case wire::Envelope::kGoodbye:
      return receiver == Receiver::kDoor || receiver == Receiver::kPeer;
    case wire::Envelope::kSubmit:
    case wire::Envelope::kCancel:
    case wire::Envelope::kCloseGroup:
      return receiver == Receiver::kSubmit;
    case wire::Envelope::kReport:
      return receiver == Receiver::kComplete;
    default:
      return receiver == Receiver::kPeer;
  }
}

class Guard {
 public:
  explicit Guard(Receiver receiver) : receiver_(receiver) {}

  absl::Status Look(const Message& envelope, std::string_view frame) {
    if (Scan(envelope, frame.data(), frame.data() + frame.size(), true)) return absl::OkStatus();
    if (!error_.ok()) return error_;
    return absl::InvalidArgumentError("malformed message: not an envelope of whippletree.wire");
  }
  bool has_unknown_fields() const { return has_unknown_fields_; }

 private:
  bool Fail(absl::Status error) {
    error_ = std::move(error);
    return false;
  }

  // These return false where the bytes end too early, or are none of such a field.
  static bool ReadVarint(const char** at, const char* end, uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 70 && *at < end; shift += 7) {
      const auto byte = static_cast<unsigned char>(*(*at)++);
      *value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  static bool Skip(const char** at, const char* end, size_t bytes) {
    if (bytes > static_cast<size_t>(end - *at)) return false;
    *at += bytes;
    return true;
  }

  bool Scan(const Message& message, const char* at, const char* end, bool is_envelope) {
    std::array<uint32_t, kSlotsMax> counts;
    std::fill_n(counts.begin(), message.slots, 0);
    while (at < end) {
      uint64_t tag = 0;
      if (!ReadVarint(&at, end, &tag) || tag > UINT32_MAX || tag < 8) return false;
      const uint64_t number = tag >> 3;
      const auto type = static_cast<WireType>(tag & 7);
      const Field* field = number < message.fields.size() ? &message.fields[number] : nullptr;
      if (field == nullptr || field->descriptor == nullptr) {
        if (!SkipUnknown(&at, end, type)) return false;
      } else if (type == field->type) {
        if (!ScanField(*field, &at, end, &counts, is_envelope)) return false;
      } else if (type == kBytesType && field->packable) {
        if (!ScanPacked(*field, &at, end, &counts)) return false;
      } else if (!SkipUnknown(&at, end, type)) {
        return false;
      }
    }
    return true;
  }

  bool ScanField(const Field& field, const char** at, const char* end,
                 std::array<uint32_t, kSlotsMax>* counts, bool is_envelope) {
    if (field.slot >= 0 && !CountEntries(field, 1, counts)) return false;
    uint64_t value = 0;
    switch (field.type) {
      case kFixed64:
        return Skip(at, end, 8);
      case kFixed32:
        return Skip(at, end, 4);
      case kVarint:
        return ReadVarint(at, end, &value) && CheckNumber(field, value);
      case kBytesType:
        break;
    }
    if (!ReadVarint(at, end, &value)) return false;
    const char* const begin = *at;
    if (!Skip(at, end, value)) return false;
    if (field.message == nullptr) {
      if (value > field.bytes_max) {
        return Fail(absl::OutOfRangeError(
            NameOf(*field.descriptor) + " has " + std::to_string(value) + " bytes, at most " +
            std::to_string(field.bytes_max) + " are taken: make it shorter"));
      }
      return !field.descriptor->is_repeated() || CountPart();
    }
    if (!CountPart()) return false;
    if (is_envelope && !CheckBody(field)) return false;
    return Scan(*field.message, begin, *at, false);
  }

  bool ScanPacked(const Field& field, const char** at, const char* end,
                  std::array<uint32_t, kSlotsMax>* counts) {
    uint64_t bytes = 0;
    if (!ReadVarint(at, end, &bytes)) return false;
    const char* each = *at;
    if (!Skip(at, end, bytes)) return false;
    // Each number ends with the one byte that has no high bit.
    uint64_t entries = bytes;
    if (field.type != kVarint) {
      entries = bytes / (field.type == kFixed64 ? 8 : 4);
    } else if (bytes > field.entries_max) {
      entries = static_cast<uint64_t>(std::count_if(
          each, *at, [](char byte) { return static_cast<unsigned char>(byte) < 0x80; }));
    }
    if (field.slot >= 0 && !CountEntries(field, entries, counts)) return false;
    if (field.number_max == UINT64_MAX) return true;
    while (each < *at) {
      uint64_t value = 0;
      if (!ReadVarint(&each, *at, &value) || !CheckNumber(field, value)) return false;
    }
    return true;
  }

  bool SkipUnknown(const char** at, const char* end, WireType type) {
    has_unknown_fields_ = true;
    if (!CountPart()) return false;
    uint64_t value = 0;
    switch (type) {
      case kVarint:
        return ReadVarint(at, end, &value);
      case kFixed64:
        return Skip(at, end, 8);
      case kBytesType:
        return ReadVarint(at, end, &value) && Skip(at, end, value);
      case kFixed32:
        return Skip(at, end, 4);
    }
    return false;  // a group, which this protocol never has
  }

  bool CountEntries(const Field& field, uint64_t more, std::array<uint32_t, kSlotsMax>* counts) {
    uint32_t& count = (*counts)[static_cast<size_t>(field.slot)];
    if (more <= field.entries_max - count) {
      count += static_cast<uint32_t>(more);
      return true;
    }
    if (!field.descriptor->is_repeated()) {
      return Fail(absl::InvalidArgumentError("malformed message: " + NameOf(*field.descriptor) +
                                             " is there more than once"));
    }
    return Fail(absl::OutOfRangeError(NameOf(*field.descriptor) + " has more than " +
                                      std::to_string(field.entries_max) +
                                      " entries: use fewer, or several messages"));
  }

  bool CountPart() {
    if (receiver_ == Receiver::kPeer || ++parts_ <= kPartsMax) return true;
    return Fail(absl::OutOfRangeError("the message has more than " + std::to_string(kPartsMax) +
                                      " parts: use several smaller ones"));
  }

  bool CheckNumber(const Field& field, uint64_t value) {
    // What the broker adds to a number that it was told must be readable.
    const bool is_near = receiver_ == Receiver::kPeer && value <= 2 * kNumberMax;
    if (value <= field.number_max || is_near) return true;
    return Fail(absl::OutOfRangeError(NameOf(*field.descriptor) + " is " + std::to_string(value) +
                                      ", and numbers go up to 2^60"));
  }

  bool CheckBody(const Field& field) {
    if (has_body_) {
      return Fail(absl::InvalidArgumentError("malformed message: more than one body"));
    }
    has_body_ = true;
    if (IsFor(receiver_, field.descriptor->number())) return true;
    const std::string_view where = receiver_ == Receiver::kDoor   ? "at the door"
                                   : receiver_ == Receiver::kPeer ? "at a peer of the broker"
                                                                  : "on this socket";
    return Fail(absl::InvalidArgumentError("this message does not belong " + std::string(where)));
  }

  const Receiver receiver_;
  uint32_t parts_ = 0;
  bool has_body_ = false;
  bool has_unknown_fields_ = false;
  absl::Status error_;
};

}  // namespace

absl::Status GuardWire(std::string_view frame, Receiver receiver, bool* has_unknown_fields) {
  static const Tables& tables = *new Tables();
  Guard guard(receiver);
  absl::Status status = guard.Look(tables.envelope(), frame);
  *has_unknown_fields = guard.has_unknown_fields();
  return status;
}

}  // namespace whippletree
