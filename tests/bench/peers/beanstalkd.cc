// beanstalkd. Puts are pipelined; a worker reserves --batch jobs in one write, then puts their
// results into another tube and deletes the jobs in one write, together with the next reserves.
#include <string>
#include <vector>

#include "tests/bench/drivers/round.h"
#include "tests/bench/peers/connection.h"

namespace whippletree::bench {
namespace {

// Puts that may be without a reply.
constexpr uint64_t kPipelined = 2'000;

class Beanstalkd {
 public:
  Beanstalkd(uint64_t port, const std::string& puts_to, const std::string& takes_from)
      : connection_(port) {
    connection_.AppendAll("use ", puts_to, "\r\nwatch ", takes_from, "\r\nignore default\r\n");
    connection_.Flush();
    Expect("USING");
    Expect("WATCHING");
    Expect("WATCHING");
  }

  void Put(std::string_view payload) {
    connection_.AppendAll("put 0 0 600 ", std::to_string(payload.size()), "\r\n", payload, "\r\n");
  }
  void Delete(std::string_view id) { connection_.AppendAll("delete ", id, "\r\n"); }
  void Flush() { connection_.Flush(); }
  bool has_input() const { return connection_.has_input(); }

  // Reserves up to `most` jobs: waits for the first for up to a second, and takes of the others
  // what is there. What was gathered before goes out in the same write; its `replies` lines come
  // first, and must begin with INSERTED or DELETED.
  template <typename Take>
  void Reserve(uint64_t most, uint64_t replies, Take&& take) {
    connection_.Append("reserve-with-timeout 1\r\n");
    for (uint64_t i = 1; i < most; ++i) connection_.Append("reserve-with-timeout 0\r\n");
    connection_.Flush();
    for (; replies > 0; --replies) Confirm();
    for (uint64_t i = 0; i < most; ++i) {
      const std::string_view line = connection_.Line();
      if (line == "TIMED_OUT") continue;
      if (WordOf(line, 0) != "RESERVED") Fail("beanstalkd: " + std::string(line));
      const std::string id(WordOf(line, 1));
      take(id, connection_.Body(DecimalOf(WordOf(line, 2))));
    }
  }
  // The reply to a put or a delete.
  void Confirm() {
    const std::string_view line = connection_.Line();
    if (WordOf(line, 0) != "INSERTED" && line != "DELETED") {
      Fail("beanstalkd: " + std::string(line));
    }
  }

 private:
  void Expect(std::string_view word) {
    const std::string_view line = connection_.Line();
    if (WordOf(line, 0) != word) Fail("beanstalkd: " + std::string(line));
  }

  Connection connection_;
};

class Producer : public System {
 public:
  Producer(uint64_t port, uint64_t batch)
      : batch_(batch), submit_(port, "jobs", "none"), results_(port, "none", "results") {}

  void Submit(uint64_t, std::span<const std::string_view> payloads) override {
    for (const std::string_view payload : payloads) submit_.Put(payload);
    submit_.Flush();
    unanswered_ += payloads.size();
    for (; unanswered_ > kPipelined || (unanswered_ > 0 && submit_.has_input()); --unanswered_) {
      submit_.Confirm();
    }
  }
  void Receive(Ledger* ledger) override {
    uint64_t taken = 0;
    results_.Reserve(batch_, deletes_, [&](const std::string& id, std::string_view result) {
      ledger->OnResult(result);
      results_.Delete(id);
      ++taken;
    });
    deletes_ = taken;
    ledger->Publish();
  }

 private:
  const uint64_t batch_;
  Beanstalkd submit_;
  Beanstalkd results_;
  uint64_t unanswered_ = 0;
  uint64_t deletes_ = 0;  // gathered, or without a reply
};

void RunWorker(uint64_t port, uint64_t batch) {
  Beanstalkd beanstalkd(port, "results", "jobs");
  Ready();
  std::string result;
  for (uint64_t replies = 0;;) {
    uint64_t done = 0;
    beanstalkd.Reserve(batch, replies, [&](const std::string& id, std::string_view payload) {
      Work(payload, &result);
      beanstalkd.Put(result);
      beanstalkd.Delete(id);
      ++done;
    });
    replies = 2 * done;
  }
}

int Main(int argc, char** argv) {
  Flags flags(argc, argv);
  const std::string role = flags.Text("role", "produce");
  const uint64_t port = flags.Number("port", 0);
  const RoundOptions options = RoundOptions::From(&flags);
  flags.Done();
  if (role == "work") RunWorker(port, options.batch);
  Ledger ledger(options.payload_bytes, options.window);
  Producer system(port, options.mode == "latency" ? 1 : options.batch);
  RunRound(options, &system, &ledger);
  return 0;
}

}  // namespace
}  // namespace whippletree::bench

int main(int argc, char** argv) { return whippletree::bench::Main(argc, argv); }
