// Broker::Step: a run of jobs from its submit to the acknowledgement of its outcomes, in four
// steps, without sockets and codec. Messages are made outside of the clock.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/broker.h"
#include "common/run.h"

namespace whippletree::core {
namespace {

// Submits that are made at a time: stopping the clock costs more than a Step.
constexpr size_t kPrepared = 100;

class Cycle {
 public:
  Cycle() : broker_(Config{}) {
    wire::Envelope hello = Hello(wire::PRODUCER, "producer");
    producer_ = Welcomed("producer", std::move(hello));
    hello = Hello(wire::WORKER, "worker");
    hello.mutable_hello()->set_slots(1);
    wire::Credit* credit = hello.mutable_hello()->add_credits();
    credit->set_queue("q");
    credit->set_jobs_limit(1ull << 50);
    credit->set_held_max(100'000);
    worker_ = Welcomed("worker", std::move(hello));
  }

  wire::Envelope SubmitOf(uint32_t jobs) {
    const std::string payload(100, 'x');
    wire::Envelope message;
    wire::Submit* submit = message.mutable_submit();
    submit->set_session(producer_);
    submit->set_queue("q");
    submit->set_first(next_);
    next_ += jobs;
    for (uint32_t i = 0; i < jobs; ++i) AppendToRun(payload, submit->mutable_run());
    return message;
  }
  // Completes all that was delivered since the last call.
  wire::Envelope ReportOfAll() {
    wire::Envelope message;
    wire::Report* report = message.mutable_report();
    report->set_session(worker_);
    report->set_first_ordinal(ordinal_);
    for (const Send& send : effects_.sends) {
      if (!send.message.has_deliveries()) continue;
      const wire::Deliveries& sent = send.message.deliveries();
      deliveries_next_ = sent.first_ordinal() + static_cast<uint64_t>(sent.deliveries_size());
      for (const wire::Delivery& delivery : sent.deliveries()) {
        wire::ReportItem* item = report->add_items();
        item->set_kind(wire::ReportItem::COMPLETED);
        item->set_token(delivery.token());
        item->set_count(static_cast<uint32_t>(delivery.run().sizes_size()));
        // The payloads are the results.
        *item->mutable_results() = delivery.run();
        completed_ += item->count();
        ++ordinal_;
      }
    }
    report->set_deliveries_next(deliveries_next_);
    return message;
  }
  wire::Envelope Ack() const {
    wire::Envelope message;
    message.mutable_outcome_ack()->set_session(producer_);
    wire::StreamAck* ack = message.mutable_outcome_ack()->add_streams();
    ack->set_queue("q");
    ack->set_next(outcomes_next_);
    return message;
  }
  uint64_t unfinished() const { return next_ - 1 - completed_; }

  void Step(Channel channel, const std::string& route, wire::Envelope message) {
    inputs_.clear();
    inputs_.push_back(FrameIn{channel, route, std::move(message)});
    now_.mono += microseconds(10);
    now_.wall += microseconds(10);
    effects_.Clear();
    broker_.Step(now_, inputs_, &effects_);
    for (const Send& send : effects_.sends) {
      if (!send.message.has_outcomes()) continue;
      const wire::Outcomes& sent = send.message.outcomes();
      outcomes_next_ = sent.first_ordinal() + static_cast<uint64_t>(sent.ranges_size());
    }
  }

 private:
  static wire::Envelope Hello(wire::Role role, const std::string& name) {
    wire::Envelope message;
    wire::Hello* hello = message.mutable_hello();
    hello->set_role(role);
    hello->set_name(name);
    hello->set_process(1);
    hello->set_attempt(1);
    return message;
  }
  uint64_t Welcomed(const std::string& route, wire::Envelope hello) {
    Step(Channel::kDoor, route, std::move(hello));
    for (const Send& send : effects_.sends) {
      if (send.message.has_welcome()) return send.message.welcome().session();
    }
    return 0;
  }

  Instant now_{MonoTime(std::chrono::hours(1)), WallTime(std::chrono::hours(500'000))};
  Broker broker_;
  Effects effects_;
  std::vector<Input> inputs_;
  uint64_t producer_ = 0;
  uint64_t worker_ = 0;
  uint64_t next_ = 1;
  uint64_t ordinal_ = 1;
  uint64_t deliveries_next_ = 1;
  uint64_t outcomes_next_ = 1;
  uint64_t completed_ = 0;
};

void BM_Step(benchmark::State& state) {
  const auto jobs = static_cast<uint32_t>(state.range(0));
  Cycle cycle;
  std::vector<wire::Envelope> submits;  // the next one last
  for (auto _ : state) {
    if (submits.empty()) {
      state.PauseTiming();
      while (submits.size() < kPrepared) submits.push_back(cycle.SubmitOf(jobs));
      std::reverse(submits.begin(), submits.end());
      state.ResumeTiming();
    }
    cycle.Step(Channel::kSubmit, "", std::move(submits.back()));
    submits.pop_back();
    for (wire::Envelope report = cycle.ReportOfAll(); report.report().items_size() > 0;
         report = cycle.ReportOfAll()) {
      cycle.Step(Channel::kComplete, "", std::move(report));
    }
    cycle.Step(Channel::kDoor, "producer", cycle.Ack());
  }
  if (cycle.unfinished() != submits.size() * jobs) state.SkipWithError("jobs were not delivered");
  state.SetItemsProcessed(state.iterations() * jobs);
}
BENCHMARK(BM_Step)->Arg(1)->Arg(500);

}  // namespace
}  // namespace whippletree::core
