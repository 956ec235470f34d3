#include "tests/sim/dead_checker.h"

#include "tests/sim/failure.h"

namespace whippletree::sim {
namespace {

std::string Text(const std::pair<uint64_t, uint64_t>& id) {
  return std::to_string(id.first) + "-" + std::to_string(id.second);
}

}  // namespace

void DeadChecker::OnBrokerUp() {
  if (asked_ != 0 && request_.action() != wire::DeadRequest::LIST) {
    for (const wire::JobId& id : request_.ids()) gone_.emplace(id.stream(), id.number());
    if (request_.action() == wire::DeadRequest::REQUEUE) is_exact_ = false;
  }
  asked_ = 0;
  listed_.clear();
  for (auto& [id, starts] : to_be_run_) --starts;
  std::erase_if(to_be_run_, [](const auto& entry) { return entry.second == 0; });
}

std::set<DeadChecker::Id> DeadChecker::Expected() const {
  std::set<Id> expected;
  // Where memory is short they do not stay.
  if (options_->broker.memory_limit_bytes < (64u << 20)) return expected;
  for (const auto& [uid, job] : history_->jobs()) {
    if (job.outcome != wire::OutcomeRange::DEAD || job.stream == 0 || job.excused) continue;
    if (job.row_damaged) continue;  // without its payload it is not kept
    if (history_->Find(job.stream, job.number_delivered) != &job) continue;
    expected.emplace(job.stream, job.number_delivered);
  }
  for (const Id& id : gone_) expected.erase(id);
  return expected;
}

bool DeadChecker::NextRequest(Prng* prng, wire::DeadRequest* request) {
  if (asked_ != 0) return false;
  request->set_action(wire::DeadRequest::LIST);
  request->set_limit(1000);
  if (listed_.empty() || prng->Chance(300)) return true;
  request->set_action(prng->Chance(600) ? wire::DeadRequest::REQUEUE : wire::DeadRequest::DROP);
  for (const Id& id : listed_) {
    const Job* job = history_->Find(id.first, id.second);
    // What follows one that nobody waits for is not in the model.
    if (job == nullptr || job->spec.follows || !prng->Chance(400)) continue;
    request->add_ids()->set_stream(id.first);
    request->mutable_ids(request->ids_size() - 1)->set_number(id.second);
  }
  if (request->ids().empty()) request->set_action(wire::DeadRequest::LIST);
  return true;
}

void DeadChecker::OnAsked(uint64_t id, const wire::DeadRequest& request) {
  asked_ = id;
  request_ = request;
  expected_ = Expected();
}

void DeadChecker::OnReply(const wire::AdminReply& reply) {
  if (reply.id() != asked_ || asked_ == 0) return;
  asked_ = 0;
  std::set<Id> told;
  for (const wire::DeadJob& job : reply.dead().jobs()) {
    told.emplace(job.id().stream(), job.id().number());
  }
  if (request_.action() == wire::DeadRequest::LIST) {
    situations_->Count("dead_listed");
    for (const Id& id : expected_) {
      if (!told.contains(id) && !reply.dead().more()) {
        Violation("dead", "dead job " + Text(id) + " is not kept");
      }
    }
    listed_ = told;
    return;
  }
  for (const Id& id : told) {
    listed_.erase(id);
    gone_.insert(id);
  }
  if (request_.action() == wire::DeadRequest::DROP) {
    situations_->Count("dead_dropped_by_admin", told.size());
    return;
  }
  for (const wire::DeadJob& job : reply.dead().jobs()) {
    ++requeued_[job.queue()];
    const Job* dead = history_->Find(job.id().stream(), job.id().number());
    const bool durable = options_->broker.queues.at(job.queue()).durable;
    to_be_run_[Text({job.id().stream(), job.id().number()})] =
        durable && dead != nullptr ? dead->max_attempts : 1;
  }
}

void DeadChecker::OnRowDamaged(const record::Run& run) {
  if (!run.options().requeue_of().empty()) lost_.insert(run.options().requeue_of());
}

void DeadChecker::CheckEnd() const {
  for (const auto& [id, starts] : to_be_run_) {
    if (lost_.contains(id)) continue;
    if (!history_->WasRequeued(id)) Violation("dead", "dead job " + id + " was requeued, not run");
  }
}

}  // namespace whippletree::sim
