// A stranger who knows names, the store's id and how sessions are numbered, but no secret.
#include <utility>

#include "common/codec.h"
#include "common/run.h"
#include "tests/sim/broker_process.h"

namespace whippletree::sim {

void BrokerProcess::Forge() {
  if (!core_) return;
  // Each draws, whatever is sent: a broker that is down shifts no sequence of others.
  const uint64_t secret = prng_.Next();
  const uint64_t session = core_->config().first_number() + prng_.Between(1, 12);
  const uint64_t number = prng_.Between(1, 200);
  const auto& queues = world_->options.queues;
  const std::string& queue = queues[prng_.Below(queues.size())];
  wire::Envelope hello;
  hello.mutable_hello()->set_role(wire::PRODUCER);
  hello.mutable_hello()->set_name("forger");
  hello.mutable_hello()->set_process(secret);
  hello.mutable_hello()->set_attempt(1);
  hello.mutable_hello()->set_store_id(disk_.store_id);
  hello.mutable_hello()->set_commit(disk_.last_commit + number * number);
  hello.mutable_hello()->set_receipt(secret);
  wire::Envelope submit;
  submit.set_secret(secret);
  submit.mutable_submit()->set_session(session);
  submit.mutable_submit()->set_queue(queue);
  submit.mutable_submit()->set_first(number);
  AppendToRun("forged", submit.mutable_submit()->mutable_run());
  wire::Envelope cancel;
  cancel.set_secret(secret);
  cancel.mutable_cancel()->set_session(session);
  cancel.mutable_cancel()->set_queue(queue);
  cancel.mutable_cancel()->add_firsts(1);
  cancel.mutable_cancel()->add_counts(number);
  for (auto& [channel, message] :
       {std::pair(core::Channel::kDoor, &hello), std::pair(core::Channel::kSubmit, &submit),
        std::pair(core::Channel::kSubmit, &cancel)}) {
    std::string frame;
    Encode(message, &frame);
    OnFrame(channel, kAdmin, std::move(frame));
  }
}

}  // namespace whippletree::sim
