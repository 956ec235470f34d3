#include "broker/status_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "common/utf8.h"

namespace whippletree {
namespace {

wire::StatusReply Example() {
  wire::StatusReply status;
  status.set_software("whippletree 1.2.3");
  status.set_uptime_ms(3'723'000);
  status.set_memory_used_bytes(12'900'000);
  status.set_memory_limit_bytes(1 << 30);
  status.set_producers(1);
  wire::QueueStatus& queue = *status.add_queues();
  queue.set_name("sh");
  queue.set_accepted(1000);
  queue.set_waiting(198);
  queue.set_leased(16);
  queue.set_completed(784);
  queue.set_dead(2);
  queue.set_retries(3);
  queue.set_accepted_per_second(45.25);
  queue.set_ended_per_second(1234.5);
  wire::WorkerStatus& worker = *status.add_workers();
  worker.set_name("host-1");
  worker.set_state("active");
  worker.set_slots(4);
  worker.set_completed(784);
  worker.set_silent_ms(250);
  for (const char* name : {"sh", "mail"}) {
    wire::WorkerQueueStatus& served = *worker.add_queues();
    served.set_name(name);
    served.set_credit(8);
    served.set_service_time_ns(20'300'000);
  }
  return status;
}

size_t WidestLine(const std::string& text) {
  size_t widest = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) widest = std::max(widest, CodePoints(line));
  return widest;
}

TEST(StatusTextTest, ShowsAlignedTables) {
  EXPECT_EQ(
      StatusText(Example()),
      "whippletree 1.2.3   up 1 h 02 min   memory 12.3 MiB of 1.0 GiB   1 producer, 1 worker\n"
      "\n"
      "QUEUE  ACCEPTED  WAITING  LEASED  COMPLETED  DEAD  CANCELLED  EXPIRED  RETRIES  IN/S"
      "  OUT/S  GATE\n"
      "sh         1000      198      16        784     2          0        0        3  45.2"
      "   1234  -\n"
      "\n"
      "WORKER  STATE   SLOTS  COMPLETED  FAILED  SILENT  QUEUE  LEASED  CREDIT  SERVICE "
      "TIME\n"
      "host-1  active      4        784       0   0.2 s  sh          0       8       20.3 ms\n"
      "                                                  mail        0       8       20.3 ms"
      "\n");
}

TEST(StatusTextTest, SaysWhatToDoWhenThereIsNothing) {
  const std::string text = StatusText(wire::StatusReply());
  EXPECT_NE(text.find("No queues yet"), std::string::npos);
  EXPECT_NE(text.find("whippletree-producer submit"), std::string::npos);
  EXPECT_NE(text.find("No workers: start one"), std::string::npos);
}

TEST(StatusTextTest, LostWorkersAreShownButNotCounted) {
  wire::StatusReply status = Example();
  status.mutable_workers(0)->set_state("lost");
  EXPECT_NE(StatusText(status).find("1 producer, 0 workers\n"), std::string::npos);
}

TEST(StatusTextTest, AWorkerWithoutQueuesHasARow) {
  wire::StatusReply status = Example();
  status.mutable_workers(0)->clear_queues();
  EXPECT_NE(StatusText(status).find("0.2 s  -"), std::string::npos);
}

TEST(StatusTextTest, ShowsWhatHoldsAQueueBack) {
  wire::StatusReply status = Example();
  status.mutable_queues(0)->set_gate("no worker");
  EXPECT_NE(StatusText(status).find("  no worker\n"), std::string::npos);
  status.mutable_queues(0)->set_full(true);
  EXPECT_NE(StatusText(status).find("  full; no worker\n"), std::string::npos);
  status.set_insecure(true);
  EXPECT_NE(StatusText(status).find("INSECURE"), std::string::npos);
}

TEST(StatusTextTest, ADiskIsShownAndWhatItHoldsBack) {
  wire::StatusReply status = Example();
  status.set_disk("ok");
  status.set_disk_free_bytes(5ull << 30);
  status.set_disk_reserve_bytes(384 << 20);
  EXPECT_NE(StatusText(status).find("1 worker   disk 5.0 GiB free\n\n"), std::string::npos);
  status.set_disk("low");
  status.set_disk_free_bytes(100 << 20);
  status.mutable_queues(0)->set_full(true);
  status.mutable_queues(0)->set_full_by_disk(true);
  std::string text = StatusText(status);
  EXPECT_NE(text.find("\nDISK FULL: of the 384.0 MiB kept in reserve 100.0 MiB are left; durable "
                      "queues take no jobs until there is room\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("  disk full\n"), std::string::npos) << text;
  status.set_disk("full");
  status.mutable_queues(0)->set_gate("disk full");
  text = StatusText(status);
  EXPECT_NE(text.find("durable queues take no jobs and start none until"), std::string::npos);
  EXPECT_NE(text.find("  disk full\n"), std::string::npos) << text;
  status.mutable_queues(0)->set_gate("no worker");
  EXPECT_NE(StatusText(status).find("  disk full; no worker\n"), std::string::npos);
}

TEST(StatusTextTest, APausedQueueSaysSoWhetherJobsWaitOrNot) {
  wire::StatusReply status = Example();
  wire::QueueStatus& queue = *status.mutable_queues(0);
  queue.set_paused(true);
  EXPECT_NE(StatusText(status).find("  paused\n"), std::string::npos);
  queue.set_gate("paused");
  EXPECT_NE(StatusText(status).find("  paused\n"), std::string::npos);
  queue.set_gate("no worker");
  queue.set_full(true);
  EXPECT_NE(StatusText(status).find("  full; paused; no worker\n"), std::string::npos);
}

TEST(StatusTextTest, BatchesRatesAndBreakersHaveATableOfTheirOwn) {
  wire::StatusReply status = Example();
  EXPECT_EQ(StatusText(status).find("BREAKER"), std::string::npos);
  wire::QueueStatus& batched = *status.add_queues();
  batched.set_name("batched");
  batched.set_batches(13);
  batched.set_batches_by_size(12);
  batched.set_batches_by_bytes(1);
  batched.set_batches_halved(3);
  batched.set_rate_pauses(11);
  wire::QueueStatus& broken = *status.add_queues();
  broken.set_name("broken");
  broken.set_breaker("half-open");
  broken.set_breaker_opened(2);
  wire::QueueStatus& fed = *status.add_queues();
  fed.set_name("fed");
  fed.set_follow_ons(1000);
  fed.set_scheduled(5);
  const std::string text = StatusText(status);
  EXPECT_NE(
      text.find("\n\n"
                "QUEUE    SCHEDULED  FOLLOW-ONS  BATCHES  SIZE  BYTES  LINGER  DRAIN  HALVED  "
                "RATE PAUSES  BREAKER    OPENED\n"
                "batched          0           0       13    12      1       0      0       3  "
                "         11  -               -\n"
                "broken           0           0        0     0      0       0      0       0  "
                "          0  half-open       2\n"
                "fed              5        1000        0     0      0       0      0       0  "
                "          0  -               -\n"
                "\nWORKER"),
      std::string::npos)
      << text;
}

TEST(StatusTextTest, FitsATerminalWithLongNamesAndLargeNumbers) {
  wire::StatusReply status = Example();
  wire::QueueStatus& queue = *status.mutable_queues(0);
  queue.set_name(std::string(500, 'q'));
  queue.set_accepted(9'999'999);
  queue.set_completed(123'456'789'012);
  queue.set_accepted_per_second(1'234'567);
  queue.set_batches(9'999'999);
  queue.set_batches_by_size(9'999'999);
  queue.set_rate_pauses(9'999'999);
  queue.set_breaker("half-open");
  status.mutable_workers(0)->set_name(std::string(500, 'w'));
  status.mutable_workers(0)->mutable_queues(0)->set_name(std::string(500, 'q'));
  const std::string text = StatusText(status);
  EXPECT_LE(WidestLine(text), 120u) << text;
  EXPECT_NE(text.find("123.46G"), std::string::npos) << text;
  EXPECT_NE(text.find("1.23M"), std::string::npos) << text;
}

TEST(StatusTextTest, HostileNamesAreEscaped) {
  wire::StatusReply status = Example();
  status.mutable_queues(0)->set_name("\x1b[2J\nx");
  status.mutable_workers(0)->set_name("\x1b]0;title\x07");
  status.mutable_workers(0)->set_state("a\nb");
  const std::string text = StatusText(status);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_NE(text.find("\\x1b[2J\\nx"), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 8);
}

TEST(StatusJsonTest, HasEveryFieldWithRealNumbers) {
  wire::StatusReply status = Example();
  status.mutable_queues(0)->set_accepted(18'446'744'073'709'551'615u);
  wire::Counter& counter = *status.add_counters();
  counter.set_name("stale_completions");
  counter.set_value(3);
  const std::string text = StatusJson(status);
  EXPECT_EQ(text.back(), '\n');
  const nlohmann::json json = nlohmann::json::parse(text);
  EXPECT_EQ(json["software"], "whippletree 1.2.3");
  EXPECT_EQ(json["insecure"], false);
  EXPECT_EQ(json["queues"].size(), 1u);
  EXPECT_EQ(json["queues"][0]["name"], "sh");
  EXPECT_EQ(json["queues"][0]["accepted"].get<uint64_t>(), 18'446'744'073'709'551'615u);
  EXPECT_EQ(json["queues"][0]["waiting"], 198);
  EXPECT_EQ(json["queues"][0]["accepted_per_second"], 45.25);
  EXPECT_EQ(json["queues"][0]["expired"], 0);
  EXPECT_EQ(json["workers"][0]["slots"], 4);
  EXPECT_EQ(json["workers"][0]["queues"][1]["name"], "mail");
  EXPECT_EQ(json["counters"], nlohmann::json({{"stale_completions", 3}}));

  const auto* type = wire::QueueStatus::descriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    EXPECT_FALSE(json["queues"][0][type->field(i)->name()].is_null()) << type->field(i)->name();
  }
}

TEST(StatusJsonTest, ListsAreThereWhenEmpty) {
  const nlohmann::json json = nlohmann::json::parse(StatusJson(wire::StatusReply()));
  EXPECT_EQ(json["queues"], nlohmann::json::array());
  EXPECT_EQ(json["workers"], nlohmann::json::array());
  EXPECT_EQ(json["counters"], nlohmann::json::object());
}

}  // namespace
}  // namespace whippletree
