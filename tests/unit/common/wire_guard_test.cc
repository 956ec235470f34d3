#include "common/wire_guard.h"

#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>

#include "common/codec.h"
#include "common/wire_limits.h"

namespace whippletree {
namespace {

// Fields as they are on the wire.
std::string Varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string Number(int field, uint64_t value) {
  return Varint(static_cast<uint64_t>(field) << 3) + Varint(value);
}
std::string Piece(int field, const std::string& bytes) {
  return Varint(static_cast<uint64_t>(field) << 3 | 2) + Varint(bytes.size()) + bytes;
}
std::string Times(int n, const std::string& bytes) {
  std::string out;
  for (int i = 0; i < n; ++i) out += bytes;
  return out;
}
std::string Frame(int body, const std::string& bytes) { return Number(1, 1) + Piece(body, bytes); }

enum : int { kHello = 3, kOutcomeAck = 5, kAdminRequest = 7, kSubmit = 8, kCancel = 9 };
enum : int { kReport = 10, kWelcome = 11, kCloseGroup = 20, kGroupAck = 22 };

absl::Status Guarded(Receiver receiver, const std::string& frame) {
  bool has_unknown_fields = false;
  return GuardWire(frame, receiver, &has_unknown_fields);
}

void ExpectBeyond(Receiver receiver, const std::string& frame, const std::string& message) {
  const absl::Status status = Guarded(receiver, frame);
  EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
  EXPECT_EQ(std::string(status.message()), message);
}

TEST(WireGuardTest, ListsHaveALimitEach) {
  struct Case {
    Receiver receiver;
    int body;
    int list;
    std::string name;
    int most;
    bool is_number = false;
  };
  for (const Case& c : std::initializer_list<Case>{
           {Receiver::kDoor, kHello, 8, "Hello.streams", kStreamsPerProducerMax},
           {Receiver::kDoor, kHello, 10, "Hello.credits", kQueuesPerWorkerMax},
           {Receiver::kDoor, kHello, 11, "Hello.leases", kLeasesPerHelloMax, true},
           {Receiver::kDoor, kHello, 12, "Hello.groups", kGroupsPerMessage, true},
           {Receiver::kDoor, 2, 2, "Heartbeat.credits", kQueuesPerWorkerMax},
           {Receiver::kDoor, kOutcomeAck, 2, "OutcomeAck.streams", kStreamsPerAck},
           {Receiver::kDoor, kGroupAck, 2, "GroupAck.groups", kGroupsPerMessage, true},
           {Receiver::kSubmit, kSubmit, 6, "Submit.names", 65'536},
           {Receiver::kSubmit, kCancel, 3, "Cancel.firsts", kCancelRangesPerMessage, true},
           {Receiver::kSubmit, kCancel, 4, "Cancel.counts", kCancelRangesPerMessage, true},
           {Receiver::kSubmit, kCloseGroup, 3, "CloseGroup.counts", kStreamsPerProducerMax},
           {Receiver::kComplete, kReport, 3, "Report.items", 65'536},
           {Receiver::kComplete, kReport, 4, "Report.credits", kQueuesPerWorkerMax}}) {
    SCOPED_TRACE(c.name);
    const std::string words = c.name + " has more than " + std::to_string(c.most) +
                              " entries: use fewer, or several messages";
    if (c.is_number) {  // one by one, in one piece, and in several
      const std::string one = Number(c.list, 300);
      const std::string piece = Piece(c.list, Times(c.most, Varint(300)));
      EXPECT_TRUE(Guarded(c.receiver, Frame(c.body, Times(c.most, one))).ok());
      EXPECT_TRUE(Guarded(c.receiver, Frame(c.body, piece)).ok());
      ExpectBeyond(c.receiver, Frame(c.body, Times(c.most + 1, one)), words);
      ExpectBeyond(c.receiver, Frame(c.body, piece + one), words);
      ExpectBeyond(c.receiver, Frame(c.body, Piece(c.list, Times(c.most + 1, Varint(300)))), words);
    } else {
      EXPECT_TRUE(Guarded(c.receiver, Frame(c.body, Times(c.most, Piece(c.list, "")))).ok());
      ExpectBeyond(c.receiver, Frame(c.body, Times(c.most + 1, Piece(c.list, ""))), words);
    }
  }
}

TEST(WireGuardTest, NestedListsHaveALimitToo) {
  const std::string sizes = Piece(1, std::string(65'536, '\x01'));
  EXPECT_TRUE(Guarded(Receiver::kSubmit, Frame(kSubmit, Piece(5, sizes))).ok());
  ExpectBeyond(Receiver::kSubmit, Frame(kSubmit, Piece(5, sizes + Number(1, 1))),
               "Run.sizes has more than 65536 entries: use fewer, or several messages");
  ExpectBeyond(Receiver::kDoor, Frame(kAdminRequest, Piece(5, Times(4097, Piece(3, "")))),
               "DeadRequest.ids has more than 4096 entries: use fewer, or several messages");
}

TEST(WireGuardTest, PartsAreBoundedAllTogether) {
  // 65,536 items are few enough, and so are ten parts in each.
  const std::string item = Piece(3, Times(10, Piece(8, "")));
  ExpectBeyond(Receiver::kComplete, Frame(kReport, Times(65'536, item)),
               "the message has more than 393216 parts: use several smaller ones");
  ExpectBeyond(Receiver::kDoor, Frame(kHello, Times(400'000, Number(100, 1))),
               "the message has more than 393216 parts: use several smaller ones");
}

TEST(WireGuardTest, TextsHaveALimit) {
  const auto hello = [](int field, size_t bytes) {
    return Frame(kHello, Piece(field, std::string(bytes, 'x')));
  };
  EXPECT_TRUE(Guarded(Receiver::kDoor, hello(5, 256)).ok());
  ExpectBeyond(Receiver::kDoor, hello(5, 257),
               "Hello.software has 257 bytes, at most 256 are taken: make it shorter");
  ExpectBeyond(Receiver::kDoor, hello(2, 1025),
               "Hello.name has 1025 bytes, at most 1024 are taken: make it shorter");
  ExpectBeyond(Receiver::kSubmit, Frame(kSubmit, Piece(4, Piece(3, std::string(1025, 'k')))),
               "JobOptions.key has 1025 bytes, at most 1024 are taken: make it shorter");
  ExpectBeyond(Receiver::kSubmit, Frame(kCloseGroup, Piece(3, Piece(1, std::string(2000, 'q')))),
               "GroupCount.queue has 2000 bytes, at most 1024 are taken: make it shorter");
  ExpectBeyond(Receiver::kSubmit, Frame(kSubmit, Piece(6, std::string(1025, 'n'))),
               "Submit.names has 1025 bytes, at most 1024 are taken: make it shorter");
}

TEST(WireGuardTest, PayloadsAndResultsAreBoundedByTheFrameAlone) {
  const std::string run = Piece(2, std::string(20 << 20, 'x'));
  EXPECT_TRUE(Guarded(Receiver::kSubmit, Frame(kSubmit, Piece(5, run))).ok());
  EXPECT_TRUE(Guarded(Receiver::kComplete, Frame(kReport, Piece(3, Piece(5, run)))).ok());
}

TEST(WireGuardTest, NumbersStayFarFromOverflow) {
  const uint64_t beyond = kNumberMax + 1;
  for (const auto& [receiver, frame, name] :
       std::initializer_list<std::tuple<Receiver, std::string, std::string>>{
           {Receiver::kDoor, Frame(kHello, Piece(8, Number(2, beyond))), "StreamClaim.next"},
           {Receiver::kDoor, Frame(kHello, Piece(8, Number(3, beyond))), "StreamClaim.wanted"},
           {Receiver::kDoor, Frame(kHello, Piece(12, Varint(beyond))), "Hello.groups"},
           {Receiver::kDoor, Frame(kHello, Number(12, beyond)), "Hello.groups"},
           {Receiver::kDoor, Frame(kHello, Piece(10, Number(2, beyond))), "Credit.jobs_limit"},
           {Receiver::kDoor, Frame(4, Piece(2, Number(2, beyond))), "StreamClaim.next"},
           {Receiver::kDoor, Frame(kOutcomeAck, Piece(2, Number(2, beyond))), "StreamAck.next"},
           {Receiver::kDoor, Frame(2, Number(3, beyond)), "Heartbeat.deliveries_next"},
           {Receiver::kDoor, Frame(kGroupAck, Number(2, beyond)), "GroupAck.groups"},
           {Receiver::kSubmit, Frame(kSubmit, Number(3, beyond)), "Submit.first"},
           {Receiver::kSubmit, Frame(kSubmit, Piece(4, Number(7, beyond))), "JobOptions.group"},
           {Receiver::kSubmit, Frame(kCancel, Piece(3, Varint(beyond))), "Cancel.firsts"},
           {Receiver::kSubmit, Frame(kCancel, Piece(4, Varint(beyond))), "Cancel.counts"},
           {Receiver::kSubmit, Frame(kCloseGroup, Number(2, beyond)), "CloseGroup.group"},
           {Receiver::kSubmit, Frame(kCloseGroup, Piece(3, Number(2, beyond))), "GroupCount.jobs"},
           {Receiver::kComplete, Frame(kReport, Number(2, beyond)), "Report.first_ordinal"},
           {Receiver::kComplete, Frame(kReport, Number(5, beyond)), "Report.deliveries_next"},
       }) {
    ExpectBeyond(receiver, frame, name + " is 1152921504606846977, and numbers go up to 2^60");
  }
  EXPECT_TRUE(Guarded(Receiver::kDoor, Frame(kHello, Piece(8, Number(2, kNumberMax)))).ok());
  // Counting on from there the broker is still understood.
  EXPECT_TRUE(Guarded(Receiver::kPeer, Frame(14, Piece(4, Number(2, 2 * kNumberMax)))).ok());
  EXPECT_FALSE(Guarded(Receiver::kPeer, Frame(14, Piece(4, Number(2, 2 * kNumberMax + 1)))).ok());
  // What names something may be any number.
  EXPECT_TRUE(Guarded(Receiver::kDoor, Frame(kHello, Number(11, UINT64_MAX))).ok());
  EXPECT_TRUE(Guarded(Receiver::kDoor, Frame(2, Number(1, UINT64_MAX))).ok());
}

TEST(WireGuardTest, EveryBodyHasItsReceivers) {
  const std::set<std::string> door = {"heartbeat", "hello",         "open_stream", "outcome_ack",
                                      "goodbye",   "admin_request", "group_ack"};
  const std::set<std::string> submit = {"submit", "cancel", "close_group"};
  const std::set<std::string> complete = {"report"};
  const auto* bodies = wire::Envelope::descriptor()->FindOneofByName("body");
  for (int i = 0; i < bodies->field_count(); ++i) {
    const auto& body = *bodies->field(i);
    SCOPED_TRACE(body.name());
    const std::string frame = Frame(body.number(), "");
    const bool is_both = body.name() == "heartbeat" || body.name() == "goodbye";
    const bool is_sent_by_peers = door.contains(body.name()) || submit.contains(body.name()) ||
                                  complete.contains(body.name());
    EXPECT_EQ(Guarded(Receiver::kDoor, frame).ok(), door.contains(body.name()));
    EXPECT_EQ(Guarded(Receiver::kSubmit, frame).ok(), submit.contains(body.name()));
    EXPECT_EQ(Guarded(Receiver::kComplete, frame).ok(), complete.contains(body.name()));
    EXPECT_EQ(Guarded(Receiver::kPeer, frame).ok(), is_both || !is_sent_by_peers);
  }
  EXPECT_EQ(Guarded(Receiver::kDoor, Frame(kReport, "")).message(),
            "this message does not belong at the door");
  EXPECT_EQ(Guarded(Receiver::kSubmit, Frame(kReport, "")).message(),
            "this message does not belong on this socket");
  EXPECT_EQ(Guarded(Receiver::kPeer, Frame(kReport, "")).message(),
            "this message does not belong at a peer of the broker");
}

// protobuf would join two messages that are one field's, and their lists.
TEST(WireGuardTest, WhatIsThereOnceIsNotThereTwice) {
  const std::string twice = Number(1, 1) + Piece(kHello, "") + Piece(kHello, "");
  EXPECT_EQ(Guarded(Receiver::kDoor, twice).message(), "malformed message: more than one body");
  EXPECT_EQ(Guarded(Receiver::kSubmit, Frame(kSubmit, Piece(5, "") + Piece(5, ""))).message(),
            "malformed message: Submit.run is there more than once");
  EXPECT_EQ(Guarded(Receiver::kDoor, Frame(kAdminRequest, Piece(5, "") + Piece(6, ""))).message(),
            "malformed message: AdminRequest.jobs is there more than once");
}

TEST(WireGuardTest, BytesThatEndTooEarlyAreNoEnvelope) {
  for (const std::string& bad :
       {std::string("\x80"), std::string("\x1a\x05"), Frame(kHello, "\x12\x05"), Number(0, 1),
        Varint(uint64_t{1} << 40), std::string("\x09\x01"), Frame(kHello, "\x19\x01"),
        Number(1, 1) + std::string("\x1b\x1c"),  // a group
        Frame(kHello, "\xf3\x01\xf4\x01"), std::string(11, '\xff'),
        std::string("\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        Frame(kCancel, Piece(3, "\x80"))}) {
    EXPECT_FALSE(Guarded(Receiver::kDoor, bad).ok());
    EXPECT_FALSE(Guarded(Receiver::kSubmit, bad).ok());
  }
}

TEST(WireGuardTest, UnknownFieldsAreNotKept) {
  wire::Envelope message;
  wire::Submit* submit = message.mutable_submit();
  submit->set_queue("q");
  submit->set_first(1);
  submit->mutable_run()->add_sizes(0);
  submit->mutable_options()->set_key("k");
  const std::string options = submit->options().SerializeAsString();
  const std::string later = Piece(100, std::string(1000, 'x')) + Number(101, 5) +
                            Varint(3 << 3 | 5) + "1234";  // `key` of another type
  const std::string frame = Number(1, 1) + Piece(200, "later") +
                            Piece(kSubmit, Piece(2, "q") + Number(3, 1) +
                                               Piece(4, options + later) + Piece(5, Number(1, 0)));
  bool has_unknown_fields = false;
  ASSERT_TRUE(GuardWire(frame, Receiver::kSubmit, &has_unknown_fields).ok());
  EXPECT_TRUE(has_unknown_fields);
  wire::Envelope decoded;
  const absl::Status status = Decode(frame, Receiver::kSubmit, &decoded);
  ASSERT_TRUE(status.ok()) << status;
  message.set_version(1);
  EXPECT_EQ(decoded.SerializeAsString(), message.SerializeAsString());
}

// What the broker is sent has no list without a limit.
TEST(WireGuardTest, NoListThatTheBrokerReadsIsForgotten) {
  std::set<std::string> checked;
  const std::function<void(const google::protobuf::Descriptor*, const std::string&, Receiver)>
      check = [&](const auto* type, const std::string& path, Receiver receiver) {
        for (int i = 0; i < type->field_count(); ++i) {
          const auto& field = *type->field(i);
          const bool is_message = field.message_type() != nullptr;
          if (is_message) {
            check(field.message_type(), path + "/" + std::to_string(field.number()), receiver);
          }
          if (!field.is_repeated()) continue;
          // The bytes of the message that has the list, around it those that have that message.
          const bool is_piece =
              is_message || field.type() == field.TYPE_STRING || field.type() == field.TYPE_BYTES;
          std::string entry = Piece(field.number(), "");
          if (field.type() == field.TYPE_FIXED64)
            entry = Varint(field.number() << 3 | 1) + "12345678";
          else if (!is_piece)
            entry = Number(field.number(), 1);
          std::string bytes = Times(80'000, entry);
          for (size_t at = path.size(); at != std::string::npos && at > 0;) {
            const size_t slash = path.rfind('/', at - 1);
            bytes = Piece(std::stoi(path.substr(slash + 1, at - slash - 1)), bytes);
            at = slash;
          }
          EXPECT_TRUE(absl::IsOutOfRange(Guarded(receiver, Number(1, 1) + bytes)))
              << field.full_name();
          checked.insert(field.full_name());
        }
      };
  const auto* bodies = wire::Envelope::descriptor()->FindOneofByName("body");
  for (int i = 0; i < bodies->field_count(); ++i) {
    for (const Receiver receiver : {Receiver::kDoor, Receiver::kSubmit, Receiver::kComplete}) {
      const auto& body = *bodies->field(i);
      if (!Guarded(receiver, Frame(body.number(), "")).ok()) continue;
      check(body.message_type(), "/" + std::to_string(body.number()), receiver);
    }
  }
  EXPECT_GE(checked.size(), 16u);
}

}  // namespace
}  // namespace whippletree
