// A frame of bytes → codec, as each receiver has it. What is taken is taken again when it is sent
// on, and is the same.
//
//   input = { receiver byte } frame
#include <string>

#include "common/codec.h"
#include "tests/fuzz/byte_source.h"
#include "tests/fuzz/target.h"

namespace whippletree::fuzz {
namespace {

constexpr Receiver kReceivers[] = {Receiver::kDoor, Receiver::kSubmit, Receiver::kComplete,
                                   Receiver::kPeer};

std::string Encoded(wire::Envelope message) {
  std::string frame;
  Encode(&message, &frame);
  return frame;
}

void Fuzz(std::string_view input) {
  ByteSource source(input);
  const Receiver receiver = kReceivers[source.Below(std::size(kReceivers))];
  wire::Envelope message;
  if (!Decode(source.Rest(), receiver, &message).ok()) return;
  Reached()["codec: taken"] += 1;
  const std::string sent_on = Encoded(message);
  wire::Envelope again;
  Require(Decode(sent_on, receiver, &again).ok());
  Require(Encoded(again) == sent_on);
}

const RegisterTarget kTarget("codec", Fuzz);

}  // namespace
}  // namespace whippletree::fuzz
