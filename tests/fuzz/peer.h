// What every target that speaks the protocol does.
#pragma once

#include <initializer_list>
#include <string>

#include "common/codec.h"
#include "tests/fuzz/target.h"
#include "wire.pb.h"

namespace whippletree::fuzz {

// What is sent, as its receiver reads it. That it can is one of the promises.
inline wire::Envelope Reread(wire::Envelope message, Receiver receiver) {
  std::string frame;
  Encode(&message, &frame);
  wire::Envelope reread;
  Require(Decode(frame, receiver, &reread).ok());
  return reread;
}

// The hello of a peer that has said none; of a worker with credit for these queues.
inline wire::Envelope FirstHello(wire::Role role, const std::string& name,
                                 std::initializer_list<const char*> queues = {}) {
  wire::Envelope message;
  wire::Hello* hello = message.mutable_hello();
  hello->set_role(role);
  hello->set_name(name);
  hello->set_process(1);
  hello->set_attempt(1);
  if (role != wire::WORKER) return message;
  hello->set_slots(2);
  for (const char* queue : queues) {
    wire::Credit* credit = hello->add_credits();
    credit->set_queue(queue);
    credit->set_jobs_limit(1000);
    credit->set_held_max(2);
  }
  return message;
}

}  // namespace whippletree::fuzz
