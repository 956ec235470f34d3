// Workers of the benchmark, on the public library: --workers N of them in this process, each with a
// connection of its own, for the queues q0 … and `timed` (see whippletree_producer.cc).
// --slow F: what `timed` jobs take, F times.
#include <sys/prctl.h>

#include <chrono>
#include <thread>

#include "common/clock.h"
#include "tests/bench/drivers/descriptors.h"
#include "tests/bench/drivers/flags.h"
#include "tests/bench/drivers/ledger.h"
#include "tests/bench/drivers/payload.h"
#include "worker/worker.h"

namespace whippletree::bench {
namespace {

absl::StatusOr<std::string> Answer(JobContext&, std::string_view payload) {
  std::string result;
  Work(payload, &result);
  return result;
}

// Busy for short times, asleep for longer ones: a machine of few cores can play many workers.
void Spend(Duration time) {
  if (time >= microseconds(200)) {
    // The kernel may come late by the timer slack of a thread: 50 µs, if it is not told otherwise.
    prctl(PR_SET_TIMERSLACK, 1);
    std::this_thread::sleep_for(time);
    return;
  }
  for (const MonoTime end = ReadMonoClock() + time; ReadMonoClock() < end;) {
  }
}

int Main(int argc, char** argv) {
  AllowManyDescriptors();
  Flags flags(argc, argv);
  const std::string broker = flags.Text("broker", "127.0.0.1:7711");
  const uint64_t count = flags.Number("workers", 1);
  const uint64_t queues = flags.Number("queues", 1);
  const auto slow = static_cast<int64_t>(flags.Number("slow", 1));
  flags.Done();
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < count; ++i) {
    threads.emplace_back([=] {
      WorkerOptions options;
      options.broker = broker;
      Worker worker(std::move(options));
      for (uint64_t q = 0; q < queues; ++q) worker.Handle("q" + std::to_string(q), Answer);
      worker.Handle("timed", [slow](JobContext& context, std::string_view payload) {
        if (payload.size() < 2 * kNumberBytes) Fail("a timed job without a time");
        const uint64_t micros = ReadNumber(payload.data() + kNumberBytes);
        Spend(microseconds(static_cast<int64_t>(micros) * slow));
        return Answer(context, payload);
      });
      const absl::Status status = worker.Run();
      if (!status.ok()) Fail(status.ToString());
    });
  }
  for (std::thread& thread : threads) thread.join();
  return 0;
}

}  // namespace
}  // namespace whippletree::bench

int main(int argc, char** argv) { return whippletree::bench::Main(argc, argv); }
