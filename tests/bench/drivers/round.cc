#include "tests/bench/drivers/round.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <thread>

#include "common/clock.h"

namespace whippletree::bench {
namespace {

constexpr int kWarmUpJobs = 300;

Duration SecondsOf(double seconds) { return Duration(static_cast<int64_t>(seconds * 1e9)); }

double Microseconds(Duration d) { return static_cast<double>(d.count()) / 1e3; }

}  // namespace

void System::RoundTrip(uint64_t number, std::string_view payload, Ledger* ledger) {
  Submit(number, {&payload, 1});
  const uint64_t before = ledger->settled();
  while (ledger->settled() == before) Receive(ledger);
}

RoundOptions RoundOptions::From(Flags* flags) {
  RoundOptions options;
  options.mode = flags->Text("mode", options.mode);
  options.seconds = flags->Real("seconds", options.seconds);
  options.window = flags->Number("window", options.window);
  options.batch = flags->Number("batch", options.batch);
  options.payload_bytes = flags->Number("payload", options.payload_bytes);
  return options;
}

std::span<const std::string_view> Batch::Make(const Payloads& payloads, uint64_t first,
                                              uint64_t n) {
  bytes_.resize(n * payloads.bytes());
  views_.resize(n);
  for (uint64_t i = 0; i < n; ++i) {
    char* at = bytes_.data() + i * payloads.bytes();
    payloads.Write(first + i, at);
    views_[i] = std::string_view(at, payloads.bytes());
  }
  return views_;
}

void Ready() {
  std::puts("ready");
  std::fflush(stdout);
}

void RunThroughput(const RoundOptions& options, System* system, Ledger* ledger) {
  std::thread receiver;
  if (!system->calls_back()) {
    receiver = std::thread([&] {
      while (!ledger->done()) system->Receive(ledger);
    });
  }
  Batch batch;
  const uint64_t before = ledger->settled();
  const MonoTime begin = ReadMonoClock();
  const MonoTime end = begin + SecondsOf(options.seconds);
  while (ReadMonoClock() < end) {
    ledger->WaitForRoom(options.batch);
    const uint64_t first = ledger->Submit(options.batch);
    system->Submit(first, batch.Make(ledger->payloads(), first, options.batch));
  }
  ledger->Close();
  ledger->WaitForAll();
  if (receiver.joinable()) receiver.join();
  std::printf("{\"jobs\": %llu, \"seconds\": %.6f}\n",
              static_cast<unsigned long long>(ledger->settled() - before),
              Microseconds(ledger->last_result() - begin) / 1e6);
  std::fflush(stdout);
}

void RunLatency(const RoundOptions& options, System* system, Ledger* ledger) {
  Batch batch;
  std::vector<Duration> times;
  MonoTime end = kNever;
  for (int64_t i = -kWarmUpJobs;; ++i) {
    if (i == 0) end = ReadMonoClock() + SecondsOf(options.seconds);
    const uint64_t number = ledger->Submit(1);
    const std::string_view payload = batch.Make(ledger->payloads(), number, 1)[0];
    const MonoTime sent = ReadMonoClock();
    system->RoundTrip(number, payload, ledger);
    const MonoTime came = ReadMonoClock();
    if (i >= 0) times.push_back(came - sent);
    if (came >= end) break;
  }
  std::sort(times.begin(), times.end());
  const auto quantile = [&](double q) {
    return Microseconds(times[static_cast<size_t>(q * static_cast<double>(times.size() - 1))]);
  };
  std::printf("{\"jobs\": %zu, \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f}\n",
              times.size() + kWarmUpJobs, quantile(0.5), quantile(0.99), quantile(0.999));
  std::fflush(stdout);
}

void RunRound(const RoundOptions& options, System* system, Ledger* ledger) {
  if (options.mode == "throughput") {
    RunThroughput(options, system, ledger);
  } else if (options.mode == "latency") {
    RunLatency(options, system, ledger);
  } else {
    Fail("no --mode " + options.mode);
  }
}

}  // namespace whippletree::bench
