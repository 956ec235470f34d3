// The admins of a simulated broker: what they ask, and what they are told.
#include <string>
#include <utility>

#include "common/codec.h"
#include "tests/sim/broker_process.h"

namespace whippletree::sim {

using core::Channel;

uint64_t BrokerProcess::AskAsAdmin(wire::AdminRequest request) {
  request.set_id(++last_admin_request_);
  wire::Envelope message;
  *message.mutable_admin_request() = std::move(request);
  std::string frame;
  Encode(&message, &frame);
  // A connection for each request.
  OnFrame(Channel::kDoor, kAdmin + std::to_string(last_admin_request_), std::move(frame));
  return last_admin_request_;
}

void BrokerProcess::PauseQueue(const std::string& queue, bool paused) {
  if (!core_) return;
  wire::AdminRequest request;
  request.mutable_pause()->set_queue(queue);
  request.mutable_pause()->set_paused(paused);
  if (!paused) policies_.OnResume(queue);
  pauses_asked_[queue] = {AskAsAdmin(std::move(request)), paused};
}

void BrokerProcess::TendDeadJobs() {
  if (!core_) return;
  wire::AdminRequest request;
  if (dead_.NextRequest(&prng_, request.mutable_dead())) {
    dead_.OnAsked(AskAsAdmin(request), request.dead());
  }
}

void BrokerProcess::CancelJob() {
  if (!core_) return;
  Job* job = world_->history.PickOpen(&prng_);
  if (job == nullptr) return;
  job->cancel_asked = true;
  wire::AdminRequest request;
  request.mutable_jobs()->set_action(wire::JobsRequest::CANCEL);
  request.mutable_jobs()->mutable_id()->set_stream(job->stream);
  request.mutable_jobs()->mutable_id()->set_number(job->number_delivered);
  AskAsAdmin(std::move(request));
}

void BrokerProcess::NoteAdminReply(const std::string& route, const wire::AdminReply& reply) {
  if (reply.number() != 0) {
    wire::Envelope read;
    read.mutable_admin_request()->set_received(reply.number());
    std::string frame;
    Encode(&read, &frame);
    OnFrame(Channel::kDoor, route, std::move(frame));
  }
  dead_.OnReply(reply);
  if (reply.has_jobs()) world_->situations.Count("job_cancelled_by_admin");
  for (const auto& [queue, asked] : pauses_asked_) {
    if (asked.request != reply.id() || !reply.has_pause()) continue;
    if (asked.paused) policies_.OnPaused(queue);
    if (reply.pause().changed()) {
      world_->situations.Count(asked.paused ? "queue_paused" : "queue_resumed");
    }
  }
}

}  // namespace whippletree::sim
