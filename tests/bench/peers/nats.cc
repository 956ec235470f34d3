// NATS JetStream. Jobs are a work-queue stream with the storage of --storage memory|file; publishes
// are pipelined and acknowledged. It pushes jobs to the workers, which are a queue group, so that
// none has to ask; they acknowledge a job after its result. Results are plain messages to the
// producer, as answers are with NATS: nobody keeps them, which is twice as fast as a stream of
// them.
#include <unistd.h>

#include <algorithm>
#include <string>

#include "tests/bench/drivers/round.h"
#include "tests/bench/peers/connection.h"

namespace whippletree::bench {
namespace {

// Publishes that may be without an acknowledgement.
constexpr uint64_t kPipelined = 4'000;

struct Message {
  std::string_view subject;
  std::string_view reply_to;
  std::string_view body;
  bool is_status = false;  // of a request for jobs: it has ended, there are none
};

// One client connection, subscribed to all subjects below its inbox.
class Nats {
 public:
  explicit Nats(uint64_t port)
      : connection_(port),
        inbox_("_INBOX." + std::to_string(getpid()) + "x" +
               std::to_string(reinterpret_cast<uintptr_t>(this)) + ".") {
    connection_.Line();  // INFO
    connection_.AppendAll(
        "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,"
        "\"no_responders\":true,\"lang\":\"c\",\"version\":\"1\"}\r\nSUB ",
        inbox_, "> 1\r\n");
    connection_.Flush();
  }

  // Returns when the server knows. `group`: of those that share the messages; "": none.
  void Subscribe(std::string_view subject, std::string_view group = "") {
    connection_.AppendAll("SUB ", subject, " ", group, " 2\r\nPING\r\n");
    connection_.Flush();
    while (connection_.Line() != "PONG") {
    }
  }
  // Gathers; `answers_to` is below the inbox, "": no answer.
  void Publish(std::string_view subject, std::string_view answers_to, std::string_view body) {
    connection_.AppendAll("PUB ", subject, " ");
    if (!answers_to.empty()) connection_.AppendAll(inbox_, answers_to, " ");
    connection_.AppendAll(std::to_string(body.size()), "\r\n", body, "\r\n");
  }
  void Flush() { connection_.Flush(); }
  size_t gathered() const { return connection_.gathered(); }
  bool Readable(int timeout_ms) { return connection_.Readable(timeout_ms); }
  bool has_input() const { return connection_.has_input(); }

  // False: it was nothing for us. What is in `message` is valid until the next call.
  bool Next(Message* message) {
    line_ = connection_.Line();
    if (line_ == "PING") {
      connection_.Append("PONG\r\n");
      connection_.Flush();
      return false;
    }
    const bool has_headers = line_.rfind("HMSG ", 0) == 0;
    if (!has_headers && line_.rfind("MSG ", 0) != 0) {
      if (line_.rfind("-ERR", 0) == 0) Fail("NATS: " + line_);
      return false;
    }
    const auto words = 1 + std::count(line_.begin(), line_.end(), ' ');
    message->subject = WordOf(line_, 1);
    message->subject.remove_prefix(std::min(message->subject.size(), inbox_.size()));
    const bool has_reply = words == (has_headers ? 6 : 5);
    message->reply_to = has_reply ? WordOf(line_, 3) : std::string_view();
    message->body = connection_.Body(DecimalOf(WordOf(line_, static_cast<int>(words) - 1)));
    message->is_status = has_headers;
    return true;
  }

  // A request of the administration; an error in the answer ends the process.
  void Request(const std::string& subject, const std::string& body) {
    Publish(subject, "admin", body);
    Flush();
    for (Message message;;) {
      if (!Next(&message) || message.subject != "admin") continue;
      if (message.is_status) Fail("NATS: nobody answers " + subject + ": is JetStream on?");
      if (message.body.find("\"error\"") != std::string_view::npos) {
        Fail("NATS: " + std::string(message.body));
      }
      return;
    }
  }

 private:
  Connection connection_;
  const std::string inbox_;
  std::string line_;
};

void CheckStored(const Message& message) {
  if (message.body.find("\"seq\"") == std::string_view::npos) {
    Fail("NATS did not store: " + std::string(message.body));
  }
}

// The stream and its consumer, before anybody else connects.
void SetUp(uint64_t port, const std::string& storage) {
  Nats nats(port);
  nats.Request("$JS.API.STREAM.CREATE.jobs",
               R"({"name":"jobs","subjects":["jobs"],"retention":"workqueue","storage":")" +
                   storage +
                   R"(","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"num_replicas":1})");
  nats.Request("$JS.API.CONSUMER.DURABLE.CREATE.jobs.take",
               R"({"stream_name":"jobs","config":{"durable_name":"take","deliver_policy":"all",)"
               R"("deliver_subject":"take","deliver_group":"workers","ack_policy":"explicit",)"
               R"("max_ack_pending":50000,"replay_policy":"instant"}})");
}

class JetStream : public System {
 public:
  explicit JetStream(uint64_t port) : submit_(port), results_(port) {
    results_.Subscribe("results");
  }

  void Submit(uint64_t, std::span<const std::string_view> payloads) override {
    for (const std::string_view payload : payloads) submit_.Publish("jobs", "stored", payload);
    submit_.Flush();
    unanswered_ += payloads.size();
    for (Message message; unanswered_ > kPipelined || submit_.has_input();) {
      if (!submit_.Next(&message)) continue;
      CheckStored(message);
      --unanswered_;
    }
  }
  void Receive(Ledger* ledger) override {
    if (!results_.Readable(100)) return;
    Message message;
    do {
      if (results_.Next(&message)) ledger->OnResult(message.body);
    } while (results_.has_input());
    ledger->Publish();
  }

 private:
  Nats submit_;
  Nats results_;
  uint64_t unanswered_ = 0;
};

void RunWorker(uint64_t port) {
  Nats nats(port);
  nats.Subscribe("take", "workers");
  Ready();
  std::string result;
  while (true) {
    if (!nats.has_input() && nats.gathered() > 0) nats.Flush();
    Message message;
    if (!nats.Next(&message)) continue;
    Work(message.body, &result);
    nats.Publish("results", "", result);
    nats.Publish(message.reply_to, "", "+ACK");
  }
}

int Main(int argc, char** argv) {
  Flags flags(argc, argv);
  const std::string role = flags.Text("role", "produce");
  const std::string storage = flags.Text("storage", "memory");
  const uint64_t port = flags.Number("port", 0);
  const RoundOptions options = RoundOptions::From(&flags);
  flags.Done();
  if (role == "setup") {
    SetUp(port, storage);
    return 0;
  }
  if (role == "work") RunWorker(port);
  Ledger ledger(options.payload_bytes, options.window);
  JetStream system(port);
  RunRound(options, &system, &ledger);
  return 0;
}

}  // namespace
}  // namespace whippletree::bench

int main(int argc, char** argv) { return whippletree::bench::Main(argc, argv); }
