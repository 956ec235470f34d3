// What every target that speaks the protocol does.
#pragma once

#include <absl/status/statusor.h>

#include <initializer_list>
#include <iostream>
#include <string>
#include <utility>

#include "common/codec.h"
#include "tests/fuzz/target.h"
#include "wire.pb.h"

namespace whippletree::fuzz {

// Encodes a message, and decodes it as its receiver does.
inline absl::StatusOr<wire::Envelope> TryReread(wire::Envelope message, Receiver receiver) {
  std::string frame;
  Encode(&message, &frame);
  wire::Envelope reread;
  absl::Status status = Decode(frame, receiver, &reread);
  if (!status.ok()) return status;
  return reread;
}

// What is sent, as its receiver reads it. That it can is one of the promises.
inline wire::Envelope Reread(wire::Envelope message, Receiver receiver) {
  absl::StatusOr<wire::Envelope> reread = TryReread(std::move(message), receiver);
  if (!reread.ok()) std::cerr << reread.status() << std::endl;
  Require(reread.ok());
  return *std::move(reread);
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
