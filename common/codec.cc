#include "common/codec.h"

#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cctype>
#include <limits>

#include "common/run.h"
#include "common/version.h"
#include "common/wire_limits.h"

namespace whippletree {
namespace {

absl::Status Broken(std::string_view what) {
  return absl::InvalidArgumentError("malformed message: " + std::string(what));
}

// The version at the begin of a frame that does not parse, where every version has it: field 1, a
// varint of one byte. 0: there is none.
uint32_t VersionOf(std::string_view frame) {
  constexpr char kTag = 0x08;
  if (frame.size() < 2 || frame[0] != kTag || (frame[1] & 0x80) != 0) return 0;
  return static_cast<uint32_t>(frame[1]);
}

absl::Status CheckItem(const wire::ReportItem& item) {
  if (item.count() == 0 || item.count() > kJobsPerRunMax || item.first() > kJobsPerRunMax) {
    return Broken("report item with a bad range");
  }
  if (item.kind() == wire::ReportItem::COMPLETED &&
      (!IsValidRun(item.results()) ||
       static_cast<uint32_t>(item.results().sizes_size()) != item.count())) {
    return Broken("results do not fit their range");
  }
  for (const wire::FollowOn& follow_on : item.follow_ons()) {
    if (!IsValidRun(follow_on.run())) return Broken("sizes and block of a run disagree");
    if (follow_on.index() < item.first() || follow_on.index() - item.first() >= item.count()) {
      return Broken("a follow-on job of a job that is not in the item");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckOutcome(const wire::OutcomeRange& range) {
  if (range.first() == 0 || range.count() == 0) {
    return Broken("outcome with a bad range");
  }
  if ((range.kind() == wire::OutcomeRange::COMPLETED || range.has_results()) &&
      (!IsValidRun(range.results()) ||
       static_cast<uint64_t>(range.results().sizes_size()) != range.count())) {
    return Broken("results do not fit their range");
  }
  return absl::OkStatus();
}

absl::Status CheckDelivery(const wire::Delivery& delivery) {
  if (delivery.token() == 0) return absl::OkStatus();
  if (!IsValidRun(delivery.run())) return Broken("sizes and block of a run disagree");
  if (delivery.indexes_size() != 0 && delivery.indexes_size() != delivery.run().sizes_size()) {
    return Broken("indexes do not fit their run");
  }
  for (int i = 0; i < delivery.indexes_size(); ++i) {
    const bool goes_up = i == 0 || delivery.indexes(i) > delivery.indexes(i - 1);
    if (!goes_up || delivery.indexes(i) >= kJobsPerRunMax) {
      return Broken("indexes of jobs out of order or range");
    }
  }
  if (delivery.started() > static_cast<uint32_t>(delivery.run().sizes_size())) {
    return Broken("more jobs started than delivered");
  }
  uint64_t jobs = 0;
  for (const wire::DeliveryPart& part : delivery.parts()) jobs += part.count();
  if (delivery.batch() && jobs != static_cast<uint64_t>(delivery.run().sizes_size())) {
    return Broken("parts of a batch do not fit its run");
  }
  return absl::OkStatus();
}

absl::Status CheckBody(const wire::Envelope& e) {
  absl::Status status;
  switch (e.body_case()) {
    case wire::Envelope::kSubmit:
      if (e.submit().first() == 0) return Broken("job number out of range");
      if (!IsValidRun(e.submit().run())) return Broken("sizes and block of a run disagree");
      if (e.submit().names_size() > 0 && e.submit().names_size() != e.submit().run().sizes_size()) {
        return Broken("names do not fit their run");
      }
      return status;
    case wire::Envelope::kCancel:
      if (e.cancel().firsts_size() != e.cancel().counts_size()) return Broken("ranges of a cancel");
      return status;
    case wire::Envelope::kReport:
      for (const auto& item : e.report().items()) {
        if (status = CheckItem(item); !status.ok()) return status;
      }
      return status;
    case wire::Envelope::kOutcomes:
      for (const auto& range : e.outcomes().ranges()) {
        if (status = CheckOutcome(range); !status.ok()) return status;
      }
      return status;
    case wire::Envelope::kDeliveries:
      for (const auto& delivery : e.deliveries().deliveries()) {
        if (status = CheckDelivery(delivery); !status.ok()) return status;
      }
      return status;
    case wire::Envelope::BODY_NOT_SET:
      return Broken("no body, or one that this version does not know");
    default:
      return status;
  }
}

}  // namespace

void Encode(wire::Envelope* envelope, std::string* frame) {
  envelope->set_version(kProtocolVersion);
  envelope->AppendToString(frame);
}

size_t BeginEncode(wire::Envelope* envelope) {
  envelope->set_version(kProtocolVersion);
  return envelope->ByteSizeLong();
}

void FinishEncode(const wire::Envelope& envelope, char* frame) {
  envelope.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(frame));
}

absl::Status Decode(std::string_view frame, Receiver receiver, wire::Envelope* envelope) {
  // Of another version nothing but the version need be readable.
  uint32_t version = VersionOf(frame);
  if (version == 0 || version == kProtocolVersion) {
    bool has_unknown_fields = false;
    absl::Status status = GuardWire(frame, receiver, &has_unknown_fields);
    if (!status.ok()) return status;
    if (frame.size() > static_cast<size_t>(std::numeric_limits<int>::max()) ||
        !envelope->ParseFromArray(frame.data(), static_cast<int>(frame.size())) ||
        envelope->version() == 0) {
      return Broken("not an envelope of whippletree.wire");
    }
    if (has_unknown_fields) envelope->DiscardUnknownFields();
    version = envelope->version();
  }
  if (version != kProtocolVersion) {
    return absl::FailedPreconditionError("protocol version " + std::to_string(version) +
                                         " is not supported; " + kSoftware + " speaks version " +
                                         std::to_string(kProtocolVersion));
  }
  return CheckBody(*envelope);
}

void SilenceProtobuf() { google::protobuf::SetLogHandler(nullptr); }

bool SameOptions(const wire::JobOptions& a, const wire::JobOptions& b) {
  return a.timeout_ms() == b.timeout_ms() && a.max_attempts() == b.max_attempts() &&
         a.key() == b.key() && a.discard_outcome() == b.discard_outcome() &&
         a.not_before_ms() == b.not_before_ms() && a.expires_at_ms() == b.expires_at_ms() &&
         a.group() == b.group() && a.requeue_of() == b.requeue_of();
}

std::string QueueNameError(std::string_view name) {
  const bool good =
      !name.empty() && name.size() <= kQueueNameBytesMax &&
      std::all_of(name.begin(), name.end(), [](unsigned char c) {
        return std::isalnum(c) || c == '.' || c == '_' || c == '-' || c == ':' || c == '/';
      });
  if (good) return "";
  return "a queue's name has 1 to 128 of the characters A-Z a-z 0-9 . _ - : /";
}

}  // namespace whippletree
