// Command lines of the three programs → their options, or one line that says what is wrong.
//
//   input = { argument newline }   the first one names the program, as in argv
#include <cstdio>
#include <iostream>
#include <streambuf>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "broker/flags.h"
#include "broker/job_text.h"
#include "broker/serve_options.h"
#include "common/cli.h"
#include "common/printable.h"
#include "common/utf8.h"
#include "producer/flags.h"
#include "tests/fuzz/target.h"
#include "worker/flags.h"

namespace whippletree::fuzz {
namespace {

// What a command line that is wrong, or asks for help, has printed does not come out.
class Silence {
 public:
  Silence() : cout_(std::cout.rdbuf(nullptr)), stderr_(std::exchange(stderr, nowhere())) {}
  ~Silence() {
    stderr = stderr_;
    std::cout.rdbuf(cout_);  // clears what went wrong meanwhile
  }

 private:
  static std::FILE* nowhere() {
    static std::FILE* const file = std::fopen("/dev/null", "w");
    return file;
  }
  std::streambuf* const cout_;
  std::FILE* const stderr_;
};

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

std::optional<int> ParseBroker(std::vector<std::string> args) {
  BrokerFlags flags;
  const auto code = ParseBrokerFlags(std::move(args), &flags);
  if (code) return code;
  using Command = BrokerFlags::Command;
  if (flags.command == Command::kShowConfig) {
    flags.shown.config.clear();  // no file is read here
    Require(LoadPolicies(flags.shown).ok());
  }
  if (flags.command != Command::kServe) return std::nullopt;
  if (!CheckOptions(flags.serve).ok()) return kExitUsage;
  flags.serve.policy.config.clear();
  Require(flags.serve.port <= 65'533 && flags.serve.http_port <= 65'535);
  Require(LoadPolicies(flags.serve.policy).ok());
  return std::nullopt;
}

void Parse(std::vector<std::string> args) {
  if (args.empty()) return;
  const std::string program = args[0];
  args.erase(args.begin());
  const Silence silence;
  std::optional<int> code;
  if (program == "whippletree-broker") {
    code = ParseBroker(std::move(args));
  } else if (program == "whippletree-worker") {
    WorkerFlags flags;
    code = ParseWorkerFlags(std::move(args), &flags);
    if (!code) Require(flags.list_handlers || (!flags.queues.empty() && flags.worker.slots > 0));
  } else if (program == "whippletree-producer") {
    ProducerFlags flags;
    code = ParseProducerFlags(std::move(args), &flags);
    const bool submits = !code && flags.command == ProducerFlags::Command::kSubmit;
    if (submits) Require(!flags.submit.queue.empty() && flags.submit.delay >= Duration(0));
  }
  Require(!code || *code == kExitOk || *code == kExitUsage);
}

// What is shown of a value can be read, and means the same.
void ParseValues(std::string_view text) {
  if (const auto duration = ParseDuration(text); duration.ok()) {
    Require(ParseDuration(FormatDuration(*duration)).value() == *duration);
  }
  if (const auto bytes = ParseByteSize(text); bytes.ok()) {
    Require(ParseByteSize(FormatByteSize(*bytes)).value() == *bytes);
  }
  if (const auto address = ParseHostPort(text); address.ok()) {
    const auto again = ParseHostPort(address->ToString());
    Require(again.ok() && again->host == address->host && again->port == address->port);
  }
  if (const auto id = ParseJobId(text); id.ok()) {
    Require(ParseJobId(JobIdText(*id)).value().number() == id->number());
  }
  Require(IsUtf8(Printable(text)) && IsUtf8(Quoted(text, 10)));
  Require(IsUtf8(ToUtf8(text, 20)) && ToUtf8(text, 20).size() <= 20);
  if (IsUtf8(text)) Require(CodePoints(Shorten(text, 5)) <= 5);
}

void Fuzz(std::string_view input) {
  std::vector<std::string> lines = Lines(input);
  for (const std::string& line : lines) ParseValues(line);
  Parse(std::move(lines));
}

const RegisterTarget kTarget("cli", Fuzz);

}  // namespace
}  // namespace whippletree::fuzz
