#include "broker/job_text.h"

#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#include "broker/status_table.h"
#include "common/cli.h"
#include "common/printable.h"
#include "common/status.h"
#include "common/utf8.h"

namespace whippletree {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kNameColumnsMax = 24;
constexpr size_t kErrorColumnsMax = 60;
constexpr size_t kPayloadBytesShown = 1000;

std::string TimeText(uint64_t ms) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromUnixMillis(static_cast<int64_t>(ms)),
                          absl::UTCTimeZone());
}

std::string Cell(const std::string& text, size_t columns_max) {
  return text.empty() ? "-" : Shorten(Printable(text), columns_max);
}

// "UNAVAILABLE: its worker was lost".
std::string ErrorText(const wire::Status& status) {
  return status.message().empty() ? CodeName(status.code())
                                  : absl::StrCat(CodeName(status.code()), ": ", status.message());
}

void SetText(const char* name, const std::string& text, Json* out) {
  if (!text.empty()) (*out)[name] = text;
}

void SetStatus(const wire::Status& status, Json* out) {
  (*out)["status"] = CodeName(status.code());
  (*out)["error"] = status.message();
  if (status.exit_code() > 0) (*out)["exit_code"] = status.exit_code();
  if (status.signal() > 0) (*out)["signal"] = status.signal();
}

template <typename Attempts>
void SetHistory(const Attempts& attempts, Json* out) {
  if (attempts.empty()) return;
  Json list = Json::array();
  for (const wire::Attempt& attempt : attempts) {
    list.push_back({{"at", TimeText(attempt.at_ms())}, {"worker", attempt.worker()}});
    SetStatus(attempt.status(), &list.back());
  }
  (*out)["history"] = std::move(list);
}

std::string Line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

void AddLine(const char* title, const std::string& text, std::string* out) {
  if (!text.empty())
    absl::StrAppend(out, "  ", title, std::string(12 - std::string_view(title).size(), ' '), text,
                    "\n");
}

template <typename Attempts>
void AddHistory(const Attempts& attempts, std::string* out) {
  for (const wire::Attempt& attempt : attempts) {
    AddLine("failed",
            absl::StrCat(TimeText(attempt.at_ms()), " on ", Printable(attempt.worker()), ": ",
                         Printable(ErrorText(attempt.status()))),
            out);
  }
}

std::string AttemptsText(uint32_t attempts) {
  return absl::StrCat(attempts, attempts == 1 ? " attempt" : " attempts");
}

}  // namespace

std::string JobIdText(const wire::JobId& id) { return absl::StrCat(id.stream(), "-", id.number()); }

absl::StatusOr<wire::JobId> ParseJobId(std::string_view text) {
  const size_t dash = text.find('-');
  const auto number = [](std::string_view digits) {  // 0: it is none
    uint64_t value = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value);
    return error == std::errc() && stop == end ? value : 0;
  };
  wire::JobId id;
  if (dash != std::string_view::npos) {
    id.set_stream(number(text.substr(0, dash)));
    id.set_number(number(text.substr(dash + 1)));
  }
  if (id.stream() > 0 && id.number() > 0) return id;
  return absl::InvalidArgumentError(
      absl::StrCat(Quoted(text, 60), " is no job id: expected one such as 3-17"));
}

std::string DeadText(const wire::DeadReply& reply) {
  Table table({{"ID", Align::kLeft},
               {"QUEUE", Align::kLeft},
               {"DIED", Align::kLeft},
               {"ATTEMPTS"},
               {"BYTES"},
               {"WORKER", Align::kLeft},
               {"ERROR", Align::kLeft}});
  for (const wire::DeadJob& job : reply.jobs()) {
    table.Add({JobIdText(job.id()), Cell(job.queue(), kNameColumnsMax), TimeText(job.died_at_ms()),
               absl::StrCat(job.attempts()), absl::StrCat(job.payload_bytes()),
               Cell(job.worker(), kNameColumnsMax),
               Cell(ErrorText(job.status()), kErrorColumnsMax)});
  }
  return table.ToString();
}

std::string DeadJobText(const wire::DeadJob& job) {
  std::string out =
      absl::StrCat("job ", JobIdText(job.id()), " of queue ", Printable(job.queue()), " is dead\n");
  AddLine("died",
          absl::StrCat(TimeText(job.died_at_ms()), ", after ", AttemptsText(job.attempts())), &out);
  AddLine("producer", Printable(job.producer()), &out);
  AddLine("key", Printable(job.key()), &out);
  AddLine("requeue of", job.requeue_of(), &out);
  AddHistory(job.history(), &out);
  AddLine("payload",
          absl::StrCat(job.payload_bytes(), job.payload_bytes() == 1 ? " byte: " : " bytes: ",
                       Quoted(job.payload(), kPayloadBytesShown)),
          &out);
  return out;
}

std::string DeadJson(const wire::DeadReply& reply) {
  std::string out;
  for (const wire::DeadJob& job : reply.jobs()) {
    Json json = {{"id", JobIdText(job.id())},
                 {"queue", job.queue()},
                 {"died_at", TimeText(job.died_at_ms())},
                 {"attempts", job.attempts()}};
    SetStatus(job.status(), &json);
    SetText("worker", job.worker(), &json);
    SetText("producer", job.producer(), &json);
    SetText("key", job.key(), &json);
    SetText("requeue_of", job.requeue_of(), &json);
    json["payload_bytes"] = job.payload_bytes();
    if (job.has_requeued_as()) json["requeued_as"] = JobIdText(job.requeued_as());
    SetHistory(job.history(), &json);
    if (job.payload().size() == job.payload_bytes()) {
      const bool is_text = IsUtf8(job.payload());
      json[is_text ? "payload" : "payload_base64"] =
          is_text ? job.payload() : absl::Base64Escape(job.payload());
    }
    out += Line(json);
  }
  return out;
}

std::string JobsText(const wire::JobsReply& reply) {
  Table table({{"ID", Align::kLeft},
               {"JOBS"},
               {"STATE", Align::kLeft},
               {"ATTEMPTS"},
               {"BYTES"},
               {"WORKER", Align::kLeft},
               {"PRODUCER", Align::kLeft},
               {"KEY", Align::kLeft}});
  for (const wire::JobState& job : reply.jobs()) {
    std::string id = JobIdText(job.id());
    if (job.count() > 1) absl::StrAppend(&id, "..", job.id().number() + job.count() - 1);
    table.Add({id, absl::StrCat(job.count()), job.state(), absl::StrCat(job.attempts()),
               absl::StrCat(job.payload_bytes()), Cell(job.worker(), kNameColumnsMax),
               Cell(job.producer(), kNameColumnsMax), Cell(job.key(), kNameColumnsMax)});
  }
  return table.ToString();
}

std::string JobText(const wire::JobState& job) {
  std::string state = job.state();
  if (job.state() == "leased") {
    absl::StrAppend(&state, job.started() ? ", started" : ", held", " by ",
                    Printable(job.worker()));
  }
  if (job.until_ms() > 0) absl::StrAppend(&state, " until ", TimeText(job.until_ms()));
  if (job.cancelling()) state += ", to be cancelled";
  if (job.suspect()) state += ", its worker died when it may have been started";
  if (job.far()) {
    state +=
        ", behind more than the broker looks through (no attempts, key or payload are told of it)";
  }
  std::string out = absl::StrCat("job ", JobIdText(job.id()), " of queue ", Printable(job.queue()),
                                 " is ", state, "\n");
  if (!job.far()) AddLine("attempts", absl::StrCat(job.attempts()), &out);
  AddLine("producer", Printable(job.producer()), &out);
  AddLine("key", Printable(job.key()), &out);
  AddLine("requeue of", job.requeue_of(), &out);
  AddHistory(job.history(), &out);
  if (job.status().code() != 0) AddLine("error", Printable(ErrorText(job.status())), &out);
  return out;
}

std::string JobsJson(const wire::JobsReply& reply) {
  std::string out;
  for (const wire::JobState& job : reply.jobs()) {
    Json json = {{"id", JobIdText(job.id())},
                 {"jobs", job.count()},
                 {"queue", job.queue()},
                 {"state", job.state()}};
    if (job.far()) {
      json["far"] = true;
    } else {
      json["attempts"] = job.attempts();
      json["payload_bytes"] = job.payload_bytes();
    }
    SetText("worker", job.worker(), &json);
    SetText("producer", job.producer(), &json);
    SetText("key", job.key(), &json);
    SetText("requeue_of", job.requeue_of(), &json);
    if (job.until_ms() > 0) json["until"] = TimeText(job.until_ms());
    if (job.state() == "leased") {
      json["started"] = job.started();
      json["cancelling"] = job.cancelling();
    }
    if (job.suspect()) json["suspect"] = true;
    SetHistory(job.history(), &json);
    if (job.status().code() != 0) {
      SetStatus(job.status(), &json);
    }
    out += Line(json);
  }
  return out;
}

}  // namespace whippletree
