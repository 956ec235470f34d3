// The producer of the benchmark, on the public library. Modes:
//   throughput, latency   one round (round.h); --queues N, --submit many|callback|future
//   keep                  rounds as told by lines on stdin, under one connection
//   singly                --producers N share --jobs N among them, each job submitted by itself
//   timed                 jobs that take as many microseconds as the lines of --times FILE say
#include <cstdio>
#include <deque>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>
#include <thread>

#include "common/clock.h"
#include "producer/producer.h"
#include "tests/bench/drivers/descriptors.h"
#include "tests/bench/drivers/round.h"

namespace whippletree::bench {
namespace {

std::unique_ptr<Producer> Connect(ProducerOptions options) {
  auto producer = Producer::Connect(std::move(options));
  if (!producer.ok()) Fail(producer.status().ToString());
  return *std::move(producer);
}

void CheckOk(const absl::Status& status) {
  if (!status.ok()) Fail(status.ToString());
}

double SecondsSince(MonoTime begin) {
  return static_cast<double>((ReadMonoClock() - begin).count()) / 1e9;
}

void PrintJobs(uint64_t jobs, double seconds) {
  std::printf("{\"jobs\": %llu, \"seconds\": %.6f}\n", static_cast<unsigned long long>(jobs),
              seconds);
  std::fflush(stdout);
}

enum class Style { kMany, kCallback, kFuture };

Style StyleOf(const std::string& text) {
  if (text == "many") return Style::kMany;
  if (text == "callback") return Style::kCallback;
  if (text == "future") return Style::kFuture;
  Fail("--submit is many, callback or future");
}

// Queues q0, q1, … in turn, a batch each.
class Whippletree : public System {
 public:
  Whippletree(const std::string& broker, uint64_t queues, Style style, Ledger* ledger)
      : broker_(broker), style_(style), ledger_(ledger), sent_(queues, 0) {
    for (uint64_t i = 0; i < queues; ++i) names_.push_back("q" + std::to_string(i));
    ProducerOptions options;
    options.broker = broker;
    if (calls_back()) {
      options.delivered = [ledger] {
        ledger->Publish();
        return true;
      };
    }
    producer_ = Connect(std::move(options));
  }

  bool calls_back() const override { return style_ != Style::kFuture; }

  void Submit(uint64_t first, std::span<const std::string_view> payloads) override {
    const size_t queue = turn_++ % names_.size();
    switch (style_) {
      case Style::kMany:
        SubmitTo(queue, first, payloads);
        break;
      case Style::kCallback:
        for (size_t i = 0; i < payloads.size(); ++i) {
          SubmitTo(queue, first + i, payloads.subspan(i, 1));
        }
        break;
      case Style::kFuture:
        SubmitFutures(queue, first, payloads);
        break;
    }
  }

  void Receive(Ledger* ledger) override {
    std::deque<std::pair<uint64_t, std::future<Outcome>>> futures;
    {
      std::unique_lock lock(mutex_);
      some_.wait_for(lock, milliseconds(100), [&] { return !futures_.empty(); });
      futures.swap(futures_);
    }
    for (auto& [number, future] : futures) {
      if (future.wait_for(Duration(0)) != std::future_status::ready) ledger->Publish();
      Book(number, future.get());
    }
    ledger->Publish();
  }

  void RoundTrip(uint64_t number, std::string_view payload, Ledger*) override {
    auto future = producer_->Submit(names_[0], payload);
    CheckOk(future.status());
    Book(number, future->get());
  }

  // One job in each of `queues` other queues, for which there is no worker. As many producers as
  // that takes.
  void Spread(uint64_t queues) {
    constexpr uint64_t kQueuesOfOne = 4000;
    const std::string payload(100, 'x');
    const std::string_view view = payload;
    for (uint64_t i = 0; i < queues; ++i) {
      if (i % kQueuesOfOne == 0) {
        ProducerOptions options;
        options.broker = broker_;
        others_.push_back(Connect(std::move(options)));
      }
      CheckOk(others_.back()
                  ->SubmitMany("other" + std::to_string(i), {&view, 1}, {}, [](Outcome&&) {})
                  .status());
    }
    for (auto& other : others_) CheckOk(other->WaitAccepted());
  }
  void WaitAccepted() { CheckOk(producer_->WaitAccepted()); }

 private:
  void Book(uint64_t number, const Outcome& outcome) {
    if (outcome.kind != OutcomeKind::kCompleted) {
      Fail("a job is " + std::string(ToString(outcome.kind)) + ": " + outcome.status.ToString());
    }
    ledger_->OnResultOf(number, outcome.result);
  }

  void SubmitTo(size_t queue, uint64_t first, std::span<const std::string_view> payloads) {
    // From the number of a job in its stream, from 1, to that in the round.
    const uint64_t offset = first - (sent_[queue] + 1);
    sent_[queue] += payloads.size();
    const auto number = producer_->SubmitMany(
        names_[queue], payloads, {},
        [this, offset](Outcome&& outcome) { Book(outcome.number + offset, outcome); });
    CheckOk(number.status());
    if (*number + offset != first) Fail("jobs are not numbered one after the other");
  }

  void SubmitFutures(size_t queue, uint64_t first, std::span<const std::string_view> payloads) {
    for (const std::string_view payload : payloads) {
      auto future = producer_->Submit(names_[queue], payload);
      CheckOk(future.status());
      std::lock_guard lock(mutex_);
      futures_.emplace_back(first++, *std::move(future));
    }
    some_.notify_one();
  }

  const std::string broker_;
  const Style style_;
  Ledger* const ledger_;
  std::vector<std::string> names_;
  std::vector<uint64_t> sent_;  // jobs, by queue
  uint64_t turn_ = 0;
  std::mutex mutex_;
  std::condition_variable some_;
  std::deque<std::pair<uint64_t, std::future<Outcome>>> futures_;
  std::unique_ptr<Producer> producer_;
  std::vector<std::unique_ptr<Producer>> others_;
};

void SubmitNext(const RoundOptions& options, Whippletree* system, Ledger* ledger, Batch* batch) {
  const uint64_t first = ledger->Submit(options.batch);
  system->Submit(first, batch->Make(ledger->payloads(), first, options.batch));
}

// "fill N": submits N jobs and waits until they are accepted. "flow S": for S seconds as many jobs
// are submitted as get their results. "round S": RunThroughput. "spread N": see Spread().
void Keep(RoundOptions options, Whippletree* system, Ledger* ledger) {
  Batch batch;
  std::string command;
  double amount = 0;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream(line) >> command >> amount;
    const MonoTime begin = ReadMonoClock();
    const uint64_t before = ledger->settled();
    const auto jobs = static_cast<uint64_t>(amount);
    if (command == "fill") {
      for (uint64_t i = 0; i < jobs; i += options.batch) {
        SubmitNext(options, system, ledger, &batch);
      }
      system->WaitAccepted();
      PrintJobs(jobs, SecondsSince(begin));
    } else if (command == "flow") {
      while (SecondsSince(begin) < amount) {
        ledger->WaitForRoom(options.batch);
        SubmitNext(options, system, ledger, &batch);
      }
      PrintJobs(ledger->settled() - before, SecondsSince(begin));
    } else if (command == "round") {
      options.seconds = amount;
      RunThroughput(options, system, ledger);
    } else if (command == "spread") {
      system->Spread(jobs);
      PrintJobs(jobs, SecondsSince(begin));
    } else {
      Fail("no command " + line);
    }
  }
}

void RunSingly(const std::string& broker, uint64_t producers, uint64_t jobs, size_t payload_bytes) {
  std::vector<std::unique_ptr<Producer>> all;
  while (all.size() < producers) {
    ProducerOptions options;
    options.broker = broker;
    all.push_back(Connect(std::move(options)));
  }
  const Payloads payloads(payload_bytes);
  Batch batch;
  const MonoTime begin = ReadMonoClock();
  for (uint64_t i = 0; i < jobs; ++i) {
    CheckOk(all[i % producers]
                ->SubmitMany("q0", batch.Make(payloads, i, 1), {}, [](Outcome&&) {})
                .status());
  }
  for (auto& producer : all) CheckOk(producer->WaitAccepted());
  PrintJobs(jobs, SecondsSince(begin));
  // What waits is looked at while its producers are there.
  std::string line;
  std::getline(std::cin, line);
}

// A payload is the job's number and its microseconds, each in 16 digits.
void RunTimed(const std::string& broker, const std::string& file) {
  std::vector<std::string> texts;
  std::ifstream in(file);
  for (uint64_t micros = 0; in >> micros;) {
    texts.emplace_back(2 * kNumberBytes, '0');
    WriteNumber(texts.size() - 1, texts.back().data());
    WriteNumber(micros, texts.back().data() + kNumberBytes);
  }
  const std::vector<std::string_view> payloads(texts.begin(), texts.end());
  ProducerOptions options;
  options.broker = broker;
  const auto producer = Connect(std::move(options));
  std::atomic<uint64_t> right{0};
  const MonoTime begin = ReadMonoClock();
  const auto first = producer->SubmitMany("timed", payloads, {}, [&](Outcome&& outcome) {
    if (outcome.kind != OutcomeKind::kCompleted) Fail(outcome.status.ToString());
    right += ReadNumber(outcome.result.data()) == Scramble(outcome.number - 1);
  });
  CheckOk(first.status());
  CheckOk(producer->WaitOutcomes());
  const double seconds = SecondsSince(begin);
  if (right != texts.size()) Fail("wrong results");
  PrintJobs(texts.size(), seconds);
}

int Main(int argc, char** argv) {
  AllowManyDescriptors();
  Flags flags(argc, argv);
  const std::string broker = flags.Text("broker", "127.0.0.1:7711");
  const RoundOptions options = RoundOptions::From(&flags);
  if (options.mode == "singly") {
    RunSingly(broker, flags.Number("producers", 100), flags.Number("jobs", 1'000'000),
              options.payload_bytes);
    return 0;
  }
  if (options.mode == "timed") {
    RunTimed(broker, flags.Text("times", ""));
    return 0;
  }
  const uint64_t queues = flags.Number("queues", 1);
  const Style style = StyleOf(flags.Text("submit", "many"));
  flags.Done();
  Ledger ledger(options.payload_bytes, options.window);
  Whippletree system(broker, queues, style, &ledger);
  if (options.mode == "keep") {
    Keep(options, &system, &ledger);
  } else {
    RunRound(options, &system, &ledger);
  }
  return 0;
}

}  // namespace
}  // namespace whippletree::bench

int main(int argc, char** argv) { return whippletree::bench::Main(argc, argv); }
