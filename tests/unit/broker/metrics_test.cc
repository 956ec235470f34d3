#include "broker/metrics.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>

namespace whippletree {
namespace {

bool HasLine(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

wire::StatusReply Example() {
  wire::StatusReply status;
  status.set_software("whippletree 1.2.3");
  status.set_uptime_ms(61'500);
  status.set_memory_used_bytes(12'345'678'901);
  status.set_memory_limit_bytes(1 << 30);
  status.set_producers(2);
  wire::QueueStatus& queue = *status.add_queues();
  queue.set_name("sh");
  queue.set_accepted(123'456'789'012);
  queue.set_waiting(7);
  queue.set_waiting_bytes(700);
  queue.set_stored_jobs(5);
  queue.set_set_aside(4);
  queue.set_stored_bytes(500);
  queue.set_full(true);
  wire::WorkerStatus& worker = *status.add_workers();
  worker.set_name("w1");
  worker.set_state("active");
  worker.set_slots(4);
  wire::WorkerQueueStatus& served = *worker.add_queues();
  served.set_name("sh");
  served.set_service_time_ns(1'500'000);
  wire::Counter& counter = *status.add_counters();
  counter.set_name("stale_completions");
  counter.set_value(3);
  return status;
}

TEST(MetricsTest, ShowsTheDiskIfThereIsOne) {
  wire::StatusReply status = Example();
  EXPECT_EQ(MetricsText(status).find("whippletree_disk"), std::string::npos);
  status.set_disk("low");
  status.set_disk_free_bytes(1000);
  status.set_disk_reserve_bytes(2000);
  const std::string text = MetricsText(status);
  EXPECT_TRUE(HasLine(text, "whippletree_disk_free_bytes 1000")) << text;
  EXPECT_TRUE(HasLine(text, "whippletree_disk_reserve_bytes 2000"));
  EXPECT_TRUE(HasLine(text, "whippletree_disk_low 1"));
  EXPECT_TRUE(HasLine(text, "whippletree_disk_full 0"));
}

TEST(MetricsTest, ShowsBrokerQueuesAndWorkers) {
  const std::string text = MetricsText(Example());
  EXPECT_TRUE(HasLine(text, "# TYPE whippletree_jobs_accepted_total counter")) << text;
  EXPECT_TRUE(
      HasLine(text, "# HELP whippletree_jobs_accepted_total Jobs accepted from producers."));
  EXPECT_TRUE(HasLine(text, "whippletree_jobs_accepted_total{queue=\"sh\"} 123456789012")) << text;
  EXPECT_TRUE(HasLine(text, "# TYPE whippletree_jobs_waiting gauge"));
  EXPECT_TRUE(HasLine(text, "whippletree_jobs_waiting{queue=\"sh\"} 7"));
  EXPECT_TRUE(HasLine(text, "whippletree_waiting_bytes{queue=\"sh\"} 700"));
  EXPECT_TRUE(HasLine(text, "whippletree_stored_jobs{queue=\"sh\"} 5"));
  EXPECT_TRUE(HasLine(text, "whippletree_jobs_set_aside{queue=\"sh\"} 4"));
  EXPECT_TRUE(HasLine(text, "whippletree_stored_bytes{queue=\"sh\"} 500"));
  EXPECT_TRUE(HasLine(text, "whippletree_queue_full{queue=\"sh\"} 1"));
  EXPECT_TRUE(HasLine(text, "whippletree_memory_used_bytes 12345678901")) << text;
  EXPECT_TRUE(HasLine(text, "whippletree_uptime_seconds 61.5"));
  EXPECT_TRUE(HasLine(text, "whippletree_build_info{software=\"whippletree 1.2.3\"} 1"));
  EXPECT_TRUE(HasLine(text, "whippletree_events_total{event=\"stale_completions\"} 3"));
  EXPECT_TRUE(HasLine(text, "whippletree_workers{state=\"active\"} 1"));
  EXPECT_TRUE(HasLine(text, "whippletree_workers{state=\"lost\"} 0"));
  EXPECT_TRUE(HasLine(text, "whippletree_workers{state=\"stuck\"} 0"));
  EXPECT_TRUE(HasLine(text, "whippletree_worker_slots{worker=\"w1\"} 4"));
  EXPECT_TRUE(
      HasLine(text, "whippletree_worker_service_time_seconds{worker=\"w1\",queue=\"sh\"} 0.0015"))
      << text;
}

TEST(MetricsTest, ShowsBatchesRatesAndBreakers) {
  wire::StatusReply status = Example();
  wire::QueueStatus& queue = *status.mutable_queues(0);
  queue.set_scheduled(4);
  queue.set_paused(true);
  queue.set_follow_ons(12);
  queue.set_batches(9);
  queue.set_batches_by_size(6);
  queue.set_batches_by_bytes(1);
  queue.set_batches_by_linger(2);
  queue.set_batches_by_drain(1);
  queue.set_batches_halved(3);
  queue.set_rate_pauses(8);
  queue.set_breaker("half-open");
  queue.set_gate("breaker half-open");
  queue.set_breaker_opened(5);
  const std::string text = MetricsText(status);
  for (const char* line : {
           "whippletree_jobs_scheduled{queue=\"sh\"} 4",
           "whippletree_queue_paused{queue=\"sh\"} 1",
           "whippletree_follow_ons_total{queue=\"sh\"} 12",
           "whippletree_batches_total{queue=\"sh\"} 9",
           "whippletree_batches_ready_total{queue=\"sh\",by=\"size\"} 6",
           "whippletree_batches_ready_total{queue=\"sh\",by=\"bytes\"} 1",
           "whippletree_batches_ready_total{queue=\"sh\",by=\"linger\"} 2",
           "whippletree_batches_halved_total{queue=\"sh\"} 3",
           "whippletree_rate_pauses_total{queue=\"sh\"} 8",
           "whippletree_queue_gate{queue=\"sh\",gate=\"breaker half-open\"} 1",
           "whippletree_breaker_state{queue=\"sh\",state=\"closed\"} 0",
           "whippletree_breaker_state{queue=\"sh\",state=\"open\"} 0",
           "whippletree_breaker_state{queue=\"sh\",state=\"half-open\"} 1",
           "whippletree_breaker_opened_total{queue=\"sh\"} 5",
       }) {
    EXPECT_TRUE(HasLine(text, line)) << line << "\n" << text;
  }
}

TEST(MetricsTest, AQueueWithoutABreakerHasNoState) {
  EXPECT_EQ(MetricsText(Example()).find("breaker_state"), std::string::npos);
}

TEST(MetricsTest, AnEmptyBrokerHasMetricsToo) {
  const std::string text = MetricsText(wire::StatusReply());
  EXPECT_TRUE(HasLine(text, "whippletree_producers 0"));
  EXPECT_TRUE(HasLine(text, "whippletree_workers{state=\"active\"} 0"));
  EXPECT_EQ(text.find("jobs_accepted"), std::string::npos);
}

TEST(MetricsTest, HostileNamesStayInsideTheirLabel) {
  wire::StatusReply status;
  status.add_queues()->set_name("a\"} 1\nevil{x=\"\\");
  const std::string text = MetricsText(status);
  EXPECT_TRUE(HasLine(text, "whippletree_jobs_waiting{queue=\"a\\\"} 1\\nevil{x=\\\"\\\\\"} 0"))
      << text;
}

TEST(MetricsTest, NoSampleTwiceAndEveryFamilyExplained) {
  wire::StatusReply status = Example();
  *status.add_workers() = status.workers(0);  // an older session of the same worker
  status.mutable_workers(1)->set_session(9);
  status.mutable_workers(1)->set_slots(5);
  const std::string text = MetricsText(status);
  EXPECT_TRUE(HasLine(text, "whippletree_worker_slots{worker=\"w1\"} 5"));

  std::set<std::string> samples;
  std::string family;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) family = line.substr(7, line.find(' ', 7) - 7);
    if (line.starts_with("#")) continue;
    EXPECT_TRUE(line.starts_with(family)) << line;
    EXPECT_TRUE(samples.insert(line.substr(0, line.rfind(' '))).second) << line;
  }
  EXPECT_GT(samples.size(), 20u);
}

}  // namespace
}  // namespace whippletree
