// Producers and workers as the broker's core sees them: frames, written by the test. They say
// nothing by themselves.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/run.h"
#include "common/status.h"
#include "tests/unit/core/broker_harness.h"

namespace whippletree::core {

struct ProducerPeerOptions {
  bool named = false;
  uint64_t process = 1;
  std::string route = {};  // "": the name
};

// A producer at the door route of its name.
class ProducerPeer {
 public:
  ProducerPeer(BrokerHarness* h, std::string name, ProducerPeerOptions options = {})
      : h_(h), name_(std::move(name)), options_(std::move(options)) {
    if (options_.route.empty()) options_.route = name_;
  }

  struct Claim {
    std::string queue;
    uint64_t next = 0;
    uint64_t wanted = 0;
  };
  wire::Envelope HelloMessage(const std::vector<Claim>& claims) {
    wire::Envelope message;
    wire::Hello* hello = message.mutable_hello();
    hello->set_role(wire::PRODUCER);
    hello->set_name(name_);
    hello->set_named(options_.named);
    hello->set_process(options_.process);
    hello->set_attempt(++attempt_);
    hello->set_broker_start(broker_start);
    for (const Claim& claim : claims) {
      wire::StreamClaim* stream = hello->add_streams();
      stream->set_queue(claim.queue);
      stream->set_next(claim.next);
      stream->set_wanted(claim.wanted);
    }
    return message;
  }
  // Says hello and takes the welcome.
  wire::Welcome Join(const std::vector<Claim>& claims = {}) {
    h_->Door(route(), HelloMessage(claims));
    return TakeWelcome();
  }
  wire::Welcome TakeWelcome() {
    const wire::Envelope message = h_->Take(route(), wire::Envelope::kWelcome);
    session = message.welcome().session();
    broker_start = message.welcome().broker_start();
    told_commit = message.commit();
    return message.welcome();
  }

  wire::Envelope SubmitMessage(const std::string& queue, uint64_t first,
                               const std::vector<std::string>& payloads,
                               const wire::JobOptions& options = {}) const {
    wire::Envelope message;
    wire::Submit* submit = message.mutable_submit();
    submit->set_session(session);
    submit->set_queue(queue);
    submit->set_first(first);
    *submit->mutable_options() = options;
    for (const std::string& payload : payloads) AppendToRun(payload, submit->mutable_run());
    return message;
  }
  void Submit(const std::string& queue, uint64_t first, const std::vector<std::string>& payloads,
              const wire::JobOptions& options = {}) {
    h_->Submit(SubmitMessage(queue, first, payloads, options));
  }
  // Submits `count` jobs and takes the update that says all of them are accepted.
  void SubmitAccepted(const std::string& queue, uint64_t first, size_t count,
                      const wire::JobOptions& options = {}) {
    Submit(queue, first, std::vector<std::string>(count, "payload"), options);
    EXPECT_EQ(TakeUpdate().next(), first + count);
  }
  void Cancel(const std::string& queue, uint64_t first, uint64_t count) {
    wire::Envelope message;
    wire::Cancel* cancel = message.mutable_cancel();
    cancel->set_session(session);
    cancel->set_queue(queue);
    cancel->add_firsts(first);
    cancel->add_counts(count);
    h_->Submit(std::move(message));
  }
  void Ack(const std::string& queue, uint64_t next) {
    wire::Envelope message;
    message.mutable_outcome_ack()->set_session(session);
    wire::StreamAck* ack = message.mutable_outcome_ack()->add_streams();
    ack->set_queue(queue);
    ack->set_next(next);
    h_->Door(route(), std::move(message));
  }
  void Heartbeat() {
    wire::Envelope message;
    message.mutable_heartbeat()->set_session(session);
    h_->Door(route(), std::move(message));
    h_->Take(route(), wire::Envelope::kHeartbeat);
  }
  void Goodbye() {
    wire::Envelope message;
    message.mutable_goodbye()->set_session(session);
    h_->Door(route(), std::move(message));
    if (options_.named && h_->durable_at_once) h_->Take(route(), wire::Envelope::kGoodbye);
  }

  wire::StreamUpdate TakeUpdate() {
    const wire::Envelope message = h_->Take(route(), wire::Envelope::kStreamUpdates);
    EXPECT_EQ(message.stream_updates().session(), session);
    EXPECT_EQ(message.stream_updates().streams_size(), 1);
    return message.stream_updates().streams_size() > 0 ? message.stream_updates().streams(0)
                                                       : wire::StreamUpdate();
  }
  wire::Outcomes TakeOutcomes() {
    const wire::Envelope message = h_->Take(route(), wire::Envelope::kOutcomes);
    EXPECT_EQ(message.outcomes().session(), session);
    return message.outcomes();
  }
  // Takes a message with one outcome range.
  wire::OutcomeRange TakeOutcome() {
    const wire::Outcomes outcomes = TakeOutcomes();
    EXPECT_EQ(outcomes.ranges_size(), 1) << outcomes.ShortDebugString();
    return outcomes.ranges_size() > 0 ? outcomes.ranges(0) : wire::OutcomeRange();
  }

  const std::string& route() const { return options_.route; }
  const std::string& name() const { return name_; }

  uint64_t session = 0;
  uint64_t broker_start = 0;
  uint64_t told_commit = 0;  // by the last welcome

 private:
  BrokerHarness* h_;
  std::string name_;
  ProducerPeerOptions options_;
  uint64_t attempt_ = 0;
};

struct QueueCredit {
  uint32_t held_max = 0;
  Duration service_time{};
};

struct WorkerPeerOptions {
  uint32_t slots = 1;
  std::vector<std::string> queues = {"q"};
  uint32_t held_max = 0;
  uint64_t jobs_limit = 1'000'000;
  uint64_t process = 1;
  uint32_t end_grace_ms = 0;
  Duration service_time{};                           // of a job, as it measured; 0: not known yet
  std::map<std::string, QueueCredit> of_queue = {};  // instead of those, of single queues
};

// A worker at the door route of its name; it acknowledges deliveries that it took.
class WorkerPeer {
 public:
  WorkerPeer(BrokerHarness* h, std::string name, WorkerPeerOptions with = {})
      : options(std::move(with)), h_(h), name_(std::move(name)) {}

  wire::Envelope HelloMessage(const std::vector<uint64_t>& leases = {}) {
    wire::Envelope message;
    wire::Hello* hello = message.mutable_hello();
    hello->set_role(wire::WORKER);
    hello->set_name(name_);
    hello->set_process(options.process);
    hello->set_attempt(++attempt_);
    hello->set_slots(options.slots);
    hello->set_end_grace_ms(options.end_grace_ms);
    hello->mutable_leases()->Add(leases.begin(), leases.end());
    FillCredits(hello->mutable_credits());
    return message;
  }
  wire::Welcome Join(const std::vector<uint64_t>& leases = {}) {
    h_->Door(name_, HelloMessage(leases));
    const wire::Envelope message = h_->Take(name_, wire::Envelope::kWelcome);
    session = message.welcome().session();
    deliveries_next = ordinal_ = 1;
    return message.welcome();
  }

  // Takes one message.
  std::vector<wire::Delivery> TakeDeliveries() {
    const wire::Envelope message = h_->Take(name_, wire::Envelope::kDeliveries);
    const wire::Deliveries& deliveries = message.deliveries();
    EXPECT_EQ(deliveries.session(), session);
    deliveries_next =
        deliveries.first_ordinal() + static_cast<uint64_t>(deliveries.deliveries_size());
    return {deliveries.deliveries().begin(), deliveries.deliveries().end()};
  }
  // Takes a message with one delivery.
  wire::Delivery TakeDelivery() {
    const std::vector<wire::Delivery> all = TakeDeliveries();
    EXPECT_EQ(all.size(), 1u);
    return all.empty() ? wire::Delivery() : all[0];
  }

  static wire::ReportItem Item(wire::ReportItem::Kind kind, uint64_t token, uint32_t first,
                               uint32_t count) {
    wire::ReportItem item;
    item.set_kind(kind);
    item.set_token(token);
    item.set_first(first);
    item.set_count(count);
    if (kind == wire::ReportItem::COMPLETED) {
      for (uint32_t i = 0; i < count; ++i) AppendToRun("result", item.mutable_results());
    }
    return item;
  }
  wire::Envelope ReportMessage(const std::vector<wire::ReportItem>& items) {
    wire::Envelope message;
    wire::Report* report = message.mutable_report();
    report->set_session(session);
    report->set_first_ordinal(ordinal_);
    report->set_deliveries_next(deliveries_next);
    report->set_draining(draining);
    report->mutable_items()->Add(items.begin(), items.end());
    ordinal_ += items.size();
    return message;
  }
  // Reports and takes the acknowledgement.
  void Report(const std::vector<wire::ReportItem>& items) {
    h_->Complete(ReportMessage(items));
    EXPECT_EQ(TakeReportAck(), ordinal_);
  }
  uint64_t TakeReportAck() {
    const wire::Envelope message = h_->Take(name_, wire::Envelope::kReportAck);
    EXPECT_EQ(message.report_ack().session(), session);
    return message.report_ack().next();
  }
  void Started(uint64_t token, uint32_t first = 0, uint32_t count = 1) {
    Report({Item(wire::ReportItem::STARTED, token, first, count)});
  }
  void Completed(uint64_t token, uint32_t first = 0, uint32_t count = 1) {
    Report({Item(wire::ReportItem::COMPLETED, token, first, count)});
  }
  void HandedBack(uint64_t token, uint32_t first = 0, uint32_t count = 1) {
    Report({Item(wire::ReportItem::HANDED_BACK, token, first, count)});
  }
  void Failed(uint64_t token, absl::StatusCode code, uint32_t first = 0, uint32_t count = 1) {
    wire::ReportItem item = Item(wire::ReportItem::FAILED, token, first, count);
    *item.mutable_status() = WireStatus(code, "it failed");
    Report({item});
  }
  void Heartbeat() {
    wire::Envelope message;
    message.mutable_heartbeat()->set_session(session);
    message.mutable_heartbeat()->set_deliveries_next(deliveries_next);
    message.mutable_heartbeat()->set_draining(draining);
    FillCredits(message.mutable_heartbeat()->mutable_credits());
    h_->Door(name_, std::move(message));
    h_->Take(name_, wire::Envelope::kHeartbeat);
  }
  void Goodbye() {
    wire::Envelope message;
    message.mutable_goodbye()->set_session(session);
    h_->Door(name_, std::move(message));
  }

  const std::string& route() const { return name_; }

  WorkerPeerOptions options;
  bool draining = false;
  uint64_t session = 0;
  uint64_t deliveries_next = 1;

 private:
  void FillCredits(google::protobuf::RepeatedPtrField<wire::Credit>* credits) const {
    for (const std::string& queue : options.queues) {
      wire::Credit* credit = credits->Add();
      credit->set_queue(queue);
      credit->set_jobs_limit(options.jobs_limit);
      const auto own = options.of_queue.find(queue);
      const QueueCredit with = own != options.of_queue.end()
                                   ? own->second
                                   : QueueCredit{options.held_max, options.service_time};
      credit->set_held_max(with.held_max);
      credit->set_service_time_ns(static_cast<uint64_t>(with.service_time.count()));
    }
  }

  BrokerHarness* h_;
  std::string name_;
  uint64_t attempt_ = 0;
  uint64_t ordinal_ = 1;
};

}  // namespace whippletree::core
