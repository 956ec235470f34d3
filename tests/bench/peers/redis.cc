// Redis, driven so that nothing is lost when a worker dies: what a worker has taken stays in a list
// of its own until its results are in the list of results.
//   produce    RPUSH of --batch payloads, pipelined; results by BLMPOP, many at a time
//   work       one script takes --batch jobs and hands them over, and keeps them, as one string;
//              results by one RPUSH; two batches under way
//   answer     for one job at a time: blocking lists, and one round trip a job
#include <hiredis/hiredis.h>
#include <unistd.h>

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "tests/bench/drivers/round.h"

namespace whippletree::bench {
namespace {

// KEYS: jobs, those that this worker has. ARGV: how many to take. One string in MessagePack spares
// a list entry and a reply for each job. Results stay out of it: Lua would hash and copy each of
// them.
constexpr const char* kTake = R"lua(
  local jobs = redis.call('LPOP', KEYS[1], ARGV[1])
  if not jobs then return '' end
  local packed = cmsgpack.pack(jobs)
  redis.call('RPUSH', KEYS[2], packed)
  return packed
)lua";
// Batches that may be without a reply.
constexpr uint64_t kPipelined = 16;

class Reply {
 public:
  explicit Reply(redisReply* reply) : reply_(reply) {}
  Reply(Reply&& other) noexcept : reply_(std::exchange(other.reply_, nullptr)) {}
  Reply& operator=(Reply&&) = delete;
  ~Reply() {
    if (reply_ != nullptr) freeReplyObject(reply_);
  }
  const redisReply* operator->() const { return reply_; }
  std::string_view text() const { return TextOf(reply_); }
  static std::string_view TextOf(const redisReply* reply) { return {reply->str, reply->len}; }

 private:
  redisReply* reply_;
};

class Connection {
 public:
  explicit Connection(uint64_t port) : context_(redisConnect("127.0.0.1", static_cast<int>(port))) {
    if (context_ == nullptr || context_->err != 0) Fail("no Redis server answers");
  }
  ~Connection() { redisFree(context_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Append(std::span<const std::string_view> words) {
    pointers_.clear();
    sizes_.clear();
    for (const std::string_view word : words) {
      pointers_.push_back(word.data());
      sizes_.push_back(word.size());
    }
    redisAppendCommandArgv(context_, static_cast<int>(words.size()), pointers_.data(),
                           sizes_.data());
  }
  void Append(std::initializer_list<std::string_view> words) {
    Append(std::span(words.begin(), words.size()));
  }
  void Flush() {
    for (int done = 0; done == 0;) {
      if (redisBufferWrite(context_, &done) != REDIS_OK) Fail(context_->errstr);
    }
  }
  Reply Get() {
    void* reply = nullptr;
    if (redisGetReply(context_, &reply) != REDIS_OK) Fail(context_->errstr);
    auto* const typed = static_cast<redisReply*>(reply);
    if (typed->type == REDIS_REPLY_ERROR) Fail(typed->str);
    return Reply(typed);
  }

 private:
  redisContext* const context_;
  std::vector<const char*> pointers_;
  std::vector<size_t> sizes_;
};

// Calls take(index, text) for each text of an array in MessagePack, as Redis writes it; returns how
// many there are. The specification has the bytes of the heads.
template <typename Take>
size_t ForEachPacked(std::string_view packed, Take&& take) {
  const auto cut = [&packed](size_t n) {
    if (packed.size() < n) Fail("Redis packed less than it says");
    const std::string_view text = packed.substr(0, n);
    packed.remove_prefix(n);
    return text;
  };
  const auto number = [&cut](size_t bytes) {
    size_t value = 0;
    for (const char c : cut(bytes)) value = value << 8 | static_cast<unsigned char>(c);
    return value;
  };
  if (packed.empty()) return 0;
  size_t n = number(1);
  if (n == 0xdc) {
    n = number(2);
  } else {
    n &= 15;
  }
  for (size_t i = 0; i < n; ++i) {
    size_t size = number(1);
    if (size >= 0xd9 && size <= 0xdb) {
      size = number(size_t{1} << (size - 0xd9));
    } else {
      size &= 31;
    }
    take(i, cut(size));
  }
  return n;
}

class Redis : public System {
 public:
  explicit Redis(uint64_t port) : submit_(port), results_(port) {}

  void Submit(uint64_t, std::span<const std::string_view> payloads) override {
    words_.assign({"RPUSH", "jobs"});
    words_.insert(words_.end(), payloads.begin(), payloads.end());
    submit_.Append(words_);
    submit_.Flush();
    if (++unanswered_ < kPipelined) return;
    submit_.Get();
    --unanswered_;
  }
  void Receive(Ledger* ledger) override {
    results_.Append({"BLMPOP", "0.1", "1", "results", "LEFT", "COUNT", "1000"});
    const Reply reply = results_.Get();
    if (reply->type != REDIS_REPLY_ARRAY) return;
    const redisReply* list = reply->element[1];
    for (size_t i = 0; i < list->elements; ++i) ledger->OnResult(Reply::TextOf(list->element[i]));
    ledger->Publish();
  }
  void RoundTrip(uint64_t, std::string_view payload, Ledger* ledger) override {
    submit_.Append({"RPUSH", "jobs", payload});
    submit_.Get();
    results_.Append({"BLPOP", "results", "0"});
    ledger->OnResult(Reply::TextOf(results_.Get()->element[1]));
    ledger->Publish();
  }

 private:
  Connection submit_;
  Connection results_;
  std::vector<std::string_view> words_;
  uint64_t unanswered_ = 0;
};

// A worker's requests: take jobs, and before that, deliver what came of others.
class Taker {
 public:
  Taker(uint64_t port, uint64_t batch)
      : redis_(port),
        mine_("taken-by-" + std::to_string(getpid())),
        most_(std::to_string(batch)),
        results_(batch) {
    redis_.Append({"SCRIPT", "LOAD", kTake});
    script_ = redis_.Get().text();
  }

  size_t under_way() const { return requests_.size(); }
  // With the first `done` results of the last jobs.
  void Ask(size_t done) {
    if (done > 0) {
      words_.assign({"RPUSH", "results"});
      words_.insert(words_.end(), results_.begin(), results_.begin() + static_cast<int64_t>(done));
      redis_.Append(words_);
      redis_.Append({"LPOP", mine_});
    }
    redis_.Append({"EVALSHA", script_, "2", "jobs", mine_, most_});
    redis_.Flush();
    requests_.push_back(done > 0);
  }
  // Works on the jobs of the oldest request; how many it brought. REQUIRES: under_way() > 0.
  size_t Answer() {
    if (requests_.front()) {
      redis_.Get();
      redis_.Get();
    }
    requests_.pop_front();
    const Reply jobs = redis_.Get();
    return ForEachPacked(jobs.text(),
                         [this](size_t i, std::string_view job) { Work(job, &results_[i]); });
  }
  // Waits for one job and works on it. REQUIRES: under_way() == 0.
  void WaitForOne() {
    redis_.Append({"BLMOVE", "jobs", mine_, "LEFT", "RIGHT", "0"});
    Work(redis_.Get().text(), &results_[0]);
  }

 private:
  Connection redis_;
  const std::string mine_;
  const std::string most_;
  std::string script_;
  std::vector<std::string> results_;
  std::vector<std::string_view> words_;
  std::deque<bool> requests_;  // whether it delivered results
};

void RunWorker(uint64_t port, uint64_t batch) {
  Taker taker(port, batch);
  Ready();
  taker.Ask(0);
  taker.Ask(0);
  while (true) {
    if (taker.under_way() > 0) {
      if (const size_t done = taker.Answer(); done > 0) taker.Ask(done);
      continue;
    }
    taker.WaitForOne();
    taker.Ask(1);
    taker.Ask(0);
  }
}

void RunAnswerer(uint64_t port) {
  Connection redis(port);
  const std::string mine = "taken-by-" + std::to_string(getpid());
  std::string result;
  redis.Append({"BLMOVE", "jobs", mine, "LEFT", "RIGHT", "0"});
  Ready();
  while (true) {
    const Reply job = redis.Get();
    Work(job.text(), &result);
    redis.Append({"MULTI"});
    redis.Append({"RPUSH", "results", result});
    redis.Append({"LTRIM", mine, "1", "-1"});
    redis.Append({"EXEC"});
    redis.Append({"BLMOVE", "jobs", mine, "LEFT", "RIGHT", "0"});
    for (int i = 0; i < 4; ++i) redis.Get();
  }
}

int Main(int argc, char** argv) {
  Flags flags(argc, argv);
  const std::string role = flags.Text("role", "produce");
  const uint64_t port = flags.Number("port", 0);
  const RoundOptions options = RoundOptions::From(&flags);
  flags.Done();
  if (role == "work") RunWorker(port, options.batch);
  if (role == "answer") RunAnswerer(port);
  Ledger ledger(options.payload_bytes, options.window);
  Redis system(port);
  RunRound(options, &system, &ledger);
  return 0;
}

}  // namespace
}  // namespace whippletree::bench

int main(int argc, char** argv) { return whippletree::bench::Main(argc, argv); }
