#include "tests/largest/world.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>

#include "broker/core/secrets.h"

namespace whippletree::core {

void World::Step(std::vector<Input> inputs, Duration later) {
  now_.mono += later;
  now_.wall += later;
  effects_.Clear();
  broker_.Step(now_, inputs, &effects_);
  Look();
}

void World::Look() {
  for (const Send& send : effects_.sends) {
    if (send.message.has_welcome()) last_session_ = send.message.welcome().session();
    for (const wire::Delivery& delivery : send.message.deliveries().deliveries()) {
      delivered_.emplace_back(delivery.token(), static_cast<uint32_t>(delivery.run().sizes_size()));
    }
  }
}

void World::Settle(const std::function<void(const Effects&)>& each) {
  while (true) {
    std::vector<Input> inputs;
    if (effects_.commit != 0) inputs.push_back(Durable{effects_.commit});
    if (inputs.empty() && broker_.NextDeadline() > now_.mono) return;
    Step(std::move(inputs));
    if (each) each(effects_);
  }
}

Input World::Frame(Channel channel, const std::string& route, wire::Envelope message) {
  const Secrets secrets(Config{}.secret_key);
  const google::protobuf::FieldDescriptor* body = message.GetReflection()->GetOneofFieldDescriptor(
      message, wire::Envelope::descriptor()->FindOneofByName("body"));
  if (const auto* session = body->message_type()->FindFieldByName("session")) {
    const auto& named = message.GetReflection()->GetMessage(message, body);
    message.set_secret(secrets.OfSession(named.GetReflection()->GetUInt64(named, session)));
  }
  if (message.has_report()) {
    for (wire::ReportItem& item : *message.mutable_report()->mutable_items()) {
      item.set_secret(secrets.OfLease(item.token()));
    }
  }
  for (const uint64_t token : message.hello().leases()) {
    message.mutable_hello()->add_lease_secrets(secrets.OfLease(token));
  }
  return FrameIn{channel, route, std::move(message)};
}

void World::Door(const std::string& route, wire::Envelope message) {
  Step({Frame(Channel::kDoor, route, std::move(message))});
  Settle();
}

void World::Submit(wire::Envelope message) {
  Step({Frame(Channel::kSubmit, "", std::move(message))});
  Settle();
}

void World::Complete(wire::Envelope message) {
  Step({Frame(Channel::kComplete, "", std::move(message))});
  Settle();
}

uint64_t World::Join(const std::string& name, wire::Envelope hello) {
  Door(name, std::move(hello));
  return last_session_;
}

uint64_t World::JoinProducer(const std::string& name) {
  return Join(name, HelloOf(wire::PRODUCER, name));
}

uint64_t World::JoinWorker(const std::string& name, const std::vector<std::string>& queues,
                           uint32_t slots, uint32_t held) {
  wire::Envelope hello = HelloOf(wire::WORKER, name);
  hello.mutable_hello()->set_slots(slots);
  for (const std::string& queue : queues) {
    *hello.mutable_hello()->add_credits() = CreditOf(queue, held);
  }
  return Join(name, std::move(hello));
}

wire::Envelope World::Jobs(uint64_t session, const std::string& queue, uint64_t first,
                           uint32_t count, const wire::JobOptions& options) {
  wire::Envelope message;
  wire::Submit* submit = message.mutable_submit();
  submit->set_session(session);
  submit->set_queue(queue);
  submit->set_first(first);
  *submit->mutable_options() = options;
  submit->mutable_run()->mutable_sizes()->Resize(static_cast<int>(count), 0);
  return message;
}

void World::SubmitAll(uint64_t session, const std::string& queue, uint32_t count, uint32_t run) {
  wire::JobOptions options;
  for (uint32_t done = 0; done < count;) {
    const uint32_t n = std::min(run, count - done);
    options.set_timeout_ms(options.timeout_ms() == 1000 ? 2000 : 1000);
    Submit(Jobs(session, queue, 1 + done, n, options));
    done += n;
  }
}

wire::Envelope HelloOf(wire::Role role, const std::string& name) {
  wire::Envelope message;
  wire::Hello* hello = message.mutable_hello();
  hello->set_role(role);
  hello->set_name(name);
  hello->set_process(1);
  hello->set_attempt(1);
  return message;
}

wire::Credit CreditOf(const std::string& queue, uint32_t held) {
  wire::Credit credit;
  credit.set_queue(queue);
  credit.set_jobs_limit(uint64_t{1} << 50);
  credit.set_held_max(held);
  credit.set_service_time_ns(1000);
  return credit;
}

}  // namespace whippletree::core
