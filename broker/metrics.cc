#include "broker/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <initializer_list>
#include <map>
#include <sstream>
#include <utility>
#include <vector>

namespace whippletree {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
constexpr auto kCounter = MetricType::Counter;
constexpr auto kGauge = MetricType::Gauge;
using Labels = std::vector<ClientMetric::Label>;

// Writes families in the order in which they are begun, each as soon as the next one begins: as
// objects all of them together take many times what the text does.
class Exposition {
 public:
  // Begins a family; Add() adds to it. `name` without the prefix.
  void Begin(MetricType type, const char* name, const char* help) {
    Write();
    family_ = {std::string("whippletree_") + name, help, type, {}};
  }

  void Add(Labels labels, double value) {
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.counter.value = value;
    metric.gauge.value = value;
    family_.metric.push_back(std::move(metric));
  }

  void AddGauge(const char* name, const char* help, double value) {
    Begin(kGauge, name, help);
    Add({}, value);
  }

  std::string ToString() {
    Write();
    return std::move(out_).str();
  }

 private:
  // A family without samples (no queue yet, say) is left out.
  void Write() {
    if (!family_.metric.empty()) prometheus::TextSerializer().Serialize(out_, {family_});
    family_.metric.clear();
  }

  MetricFamily family_;
  std::ostringstream out_;
};

void AddBroker(const wire::StatusReply& status, Exposition* out) {
  out->Begin(kGauge, "build_info", "The broker's software; always 1.");
  out->Add({{"software", status.software()}}, 1);
  out->AddGauge("uptime_seconds", "Time since the broker started.", status.uptime_ms() / 1e3);
  out->AddGauge("memory_used_bytes", "Memory that counts against the limit.",
                static_cast<double>(status.memory_used_bytes()));
  out->AddGauge("memory_limit_bytes", "The limit given by --memory-limit.",
                static_cast<double>(status.memory_limit_bytes()));
  if (status.disk_reserve_bytes() > 0) {
    out->AddGauge("disk_free_bytes", "What durable queues find on the disk of the data directory.",
                  static_cast<double>(status.disk_free_bytes()));
    out->AddGauge("disk_reserve_bytes", "What they leave of it.",
                  static_cast<double>(status.disk_reserve_bytes()));
    out->AddGauge("disk_low", "1 while they take no jobs because of that.", status.disk() != "ok");
    out->AddGauge("disk_full", "1 while they start no jobs either.", status.disk() == "full");
  }
  out->AddGauge("producers", "Connected producers.", status.producers());
  out->Begin(kCounter, "dropped_queues_total", "Queues that went: nobody used them.");
  out->Add({}, static_cast<double>(status.dropped_queues()));
  out->Begin(kCounter, "dropped_queues_jobs_total", "Jobs that these had counted, by outcome.");
  const wire::QueueStatus& dropped = status.dropped();
  out->Add({{"outcome", "completed"}}, static_cast<double>(dropped.completed()));
  out->Add({{"outcome", "dead"}}, static_cast<double>(dropped.dead()));
  out->Add({{"outcome", "cancelled"}}, static_cast<double>(dropped.cancelled()));
  out->Add({{"outcome", "expired"}}, static_cast<double>(dropped.expired()));

  out->Begin(kCounter, "events_total", "Things that happened in the broker, by name.");
  for (const wire::Counter& counter : status.counters()) {
    out->Add({{"event", counter.name()}}, static_cast<double>(counter.value()));
  }
}

struct QueueMetric {
  MetricType type;
  const char* name;
  const char* help;
  double (*value)(const wire::QueueStatus&);
};
using Queue = wire::QueueStatus;
constexpr QueueMetric kQueueMetrics[] = {
    {kCounter, "jobs_accepted_total", "Jobs accepted from producers.",
     [](const Queue& q) -> double { return q.accepted(); }},
    {kCounter, "jobs_completed_total", "Jobs that ended with a result.",
     [](const Queue& q) -> double { return q.completed(); }},
    {kCounter, "jobs_dead_total", "Jobs given up, or never worth a retry.",
     [](const Queue& q) -> double { return q.dead(); }},
    {kCounter, "jobs_cancelled_total", "Jobs cancelled by their producers.",
     [](const Queue& q) -> double { return q.cancelled(); }},
    {kCounter, "jobs_expired_total", "Jobs not started before they expired.",
     [](const Queue& q) -> double { return q.expired(); }},
    {kCounter, "job_retries_total", "Attempts that failed and were followed by a retry.",
     [](const Queue& q) -> double { return q.retries(); }},
    {kGauge, "jobs_waiting", "Jobs accepted, not leased, without outcome.",
     [](const Queue& q) -> double { return q.waiting(); }},
    {kGauge, "jobs_delayed", "Of the waiting jobs: those that back off.",
     [](const Queue& q) -> double { return q.delayed(); }},
    {kGauge, "jobs_scheduled", "Of the waiting jobs: those before their time.",
     [](const Queue& q) -> double { return q.scheduled(); }},
    {kGauge, "jobs_leased", "Jobs that workers hold or run.",
     [](const Queue& q) -> double { return q.leased(); }},
    {kGauge, "waiting_bytes", "Payload bytes of the waiting jobs.",
     [](const Queue& q) -> double { return q.waiting_bytes(); }},
    {kGauge, "stored_jobs", "Of the waiting jobs: those that are on the disk only.",
     [](const Queue& q) -> double { return q.stored_jobs(); }},
    {kGauge, "stored_bytes", "Payload bytes of these.",
     [](const Queue& q) -> double { return q.stored_bytes(); }},
    {kGauge, "jobs_set_aside", "Of the waiting jobs: those whose producer does not read outcomes.",
     [](const Queue& q) -> double { return q.set_aside(); }},
    {kGauge, "outcomes_unacknowledged", "Outcomes that producers have not acknowledged yet.",
     [](const Queue& q) -> double { return q.unacknowledged_outcomes(); }},
    {kGauge, "queue_workers", "Workers that serve the queue.",
     [](const Queue& q) -> double { return q.workers(); }},
    {kGauge, "queue_full", "1 while the queue takes no more jobs.",
     [](const Queue& q) -> double { return q.full(); }},
    {kGauge, "queue_paused", "1 while the queue is paused.",
     [](const Queue& q) -> double { return q.paused(); }},
    {kCounter, "follow_ons_total", "Of the accepted jobs: follow-on jobs.",
     [](const Queue& q) -> double { return q.follow_ons(); }},
    {kCounter, "batches_total", "Batches dispatched.",
     [](const Queue& q) -> double { return q.batches(); }},
    {kCounter, "batches_halved_total", "Halves of failed batches, dispatched.",
     [](const Queue& q) -> double { return q.batches_halved(); }},
    {kCounter, "rate_pauses_total", "Times that jobs waited for the rate.",
     [](const Queue& q) -> double { return q.rate_pauses(); }},
    {kCounter, "breaker_opened_total", "Times that the breaker opened.",
     [](const Queue& q) -> double { return q.breaker_opened(); }},
};

void AddQueues(const wire::StatusReply& status, Exposition* out) {
  for (const QueueMetric& metric : kQueueMetrics) {
    out->Begin(metric.type, metric.name, metric.help);
    for (const Queue& queue : status.queues()) {
      out->Add({{"queue", queue.name()}}, metric.value(queue));
    }
  }
}

// What has a second label.
void AddQueueParts(const wire::StatusReply& status, Exposition* out) {
  out->Begin(kCounter, "batches_ready_total", "Batches by what made them ready to go.");
  for (const Queue& queue : status.queues()) {
    const auto add = [&](const char* by, uint64_t value) {
      out->Add({{"queue", queue.name()}, {"by", by}}, static_cast<double>(value));
    };
    add("size", queue.batches_by_size());
    add("bytes", queue.batches_by_bytes());
    add("linger", queue.batches_by_linger());
    add("drain", queue.batches_by_drain());
  }
  out->Begin(kGauge, "queue_gate", "1 for the gate that keeps the queue's waiting jobs back.");
  for (const Queue& queue : status.queues()) {
    if (!queue.gate().empty()) out->Add({{"queue", queue.name()}, {"gate", queue.gate()}}, 1);
  }
  out->Begin(kGauge, "breaker_state", "1 for the state of the queue's breaker, 0 for the others.");
  for (const Queue& queue : status.queues()) {
    if (queue.breaker().empty()) continue;
    for (const char* state : {"closed", "open", "half-open"}) {
      out->Add({{"queue", queue.name()}, {"state", state}}, queue.breaker() == state);
    }
  }
}

// The newest session of each worker: a sample with the same labels twice spoils a whole scrape.
std::map<std::string, const wire::WorkerStatus*> NewestSessions(const wire::StatusReply& status) {
  std::map<std::string, const wire::WorkerStatus*> newest;
  for (const wire::WorkerStatus& worker : status.workers()) {
    const wire::WorkerStatus*& entry = newest[worker.name()];
    if (entry == nullptr || worker.session() > entry->session()) entry = &worker;
  }
  return newest;
}

void AddWorkers(const wire::StatusReply& status, Exposition* out) {
  const auto workers = NewestSessions(status);

  std::map<std::string, int> by_state = {{"active", 0}, {"draining", 0}, {"lost", 0}, {"stuck", 0}};
  for (const auto& [name, worker] : workers) ++by_state[worker->state()];
  out->Begin(kGauge, "workers", "Workers by state.");
  for (const auto& [state, count] : by_state) out->Add({{"state", state}}, count);

  out->Begin(kGauge, "worker_slots", "Handler calls that fit in a worker at a time.");
  for (const auto& [name, worker] : workers) out->Add({{"worker", name}}, worker->slots());
  out->Begin(kGauge, "worker_jobs_leased",
             "Jobs that a worker holds or runs; a batch counts as one.");
  for (const auto& [name, worker] : workers) {
    out->Add({{"worker", name}}, static_cast<double>(worker->leased()));
  }
  out->Begin(kCounter, "worker_jobs_completed_total", "Attempts with a result.");
  for (const auto& [name, worker] : workers) {
    out->Add({{"worker", name}}, static_cast<double>(worker->completed()));
  }
  out->Begin(kCounter, "worker_jobs_failed_total", "Attempts that failed.");
  for (const auto& [name, worker] : workers) {
    out->Add({{"worker", name}}, static_cast<double>(worker->failed()));
  }
  out->Begin(kGauge, "worker_silent_seconds", "Time since a worker's last message.");
  for (const auto& [name, worker] : workers) {
    out->Add({{"worker", name}}, worker->silent_ms() / 1e3);
  }
  out->Begin(kGauge, "worker_service_time_seconds",
             "Time a job of the queue takes in a slot of the worker, as measured there.");
  for (const auto& [name, worker] : workers) {
    for (const wire::WorkerQueueStatus& queue : worker->queues()) {
      out->Add({{"worker", name}, {"queue", queue.name()}}, queue.service_time_ns() / 1e9);
    }
  }
}

}  // namespace

std::string MetricsText(const wire::StatusReply& status) {
  Exposition out;
  AddBroker(status, &out);
  AddQueues(status, &out);
  AddQueueParts(status, &out);
  AddWorkers(status, &out);
  return out.ToString();
}

}  // namespace whippletree
