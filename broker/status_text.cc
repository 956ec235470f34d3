#include "broker/status_text.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "broker/status_table.h"
#include "common/printable.h"
#include "common/utf8.h"

namespace whippletree {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kQueueColumnsMax = 20;
constexpr size_t kWorkerColumnsMax = 24;
constexpr size_t kGateColumnsMax = 30;

constexpr std::pair<double, const char*> kCountUnits[] = {
    {1e18, "E"}, {1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}};
constexpr const char* kByteUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

// What a peer calls itself, fit for a cell of a table.
std::string Shown(std::string_view name, size_t columns_max) {
  return Shorten(Printable(name), columns_max);
}

// Exact up to 9,999,999, then like "12.35M".
std::string Count(uint64_t n) {
  if (n < 10'000'000) return absl::StrCat(n);
  for (const auto& [size, unit] : kCountUnits) {
    if (n >= size) return absl::StrFormat("%.2f%s", n / size, unit);
  }
  return absl::StrCat(n);
}

std::string Rate(double per_second) {
  if (!(per_second > 0)) return "0";
  if (per_second < 99.95) return absl::StrFormat("%.1f", per_second);
  if (per_second < 1e6) return absl::StrFormat("%.0f", per_second);
  return absl::StrFormat("%.2fM", per_second / 1e6);
}

std::string Bytes(uint64_t n) {
  size_t unit = 0;
  double value = n;
  for (; value >= 1024 && unit + 1 < std::size(kByteUnits); ++unit) value /= 1024;
  return unit == 0 ? absl::StrCat(n, " B") : absl::StrFormat("%.1f %s", value, kByteUnits[unit]);
}

std::string ShortTime(uint64_t ns) {
  if (ns == 0) return "-";
  if (ns < 10'000) return absl::StrFormat("%.2f us", ns / 1e3);
  if (ns < 1'000'000) return absl::StrFormat("%.0f us", ns / 1e3);
  if (ns < 1'000'000'000) return absl::StrFormat("%.1f ms", ns / 1e6);
  return absl::StrFormat("%.1f s", ns / 1e9);
}

std::string LongTime(uint64_t ms) {
  const uint64_t s = ms / 1000;
  if (s < 60) return absl::StrCat(s, " s");
  if (s < 3600) return absl::StrFormat("%d min %02d s", s / 60, s % 60);
  if (s < 86400) return absl::StrFormat("%d h %02d min", s / 3600, s / 60 % 60);
  return absl::StrFormat("%d d %02d h", s / 86400, s / 3600 % 24);
}

std::string Plural(uint64_t n, const char* word) {
  return absl::StrCat(n, " ", word, n == 1 ? "" : "s");
}

std::string Head(const wire::StatusReply& status) {
  std::string out =
      absl::StrCat(Shown(status.software(), 40), "   up ", LongTime(status.uptime_ms()),
                   "   memory ", Bytes(status.memory_used_bytes()));
  if (status.memory_limit_bytes() > 0) {
    absl::StrAppend(&out, " of ", Bytes(status.memory_limit_bytes()));
  }
  const auto here =
      std::count_if(status.workers().begin(), status.workers().end(),
                    [](const wire::WorkerStatus& worker) { return worker.state() != "lost"; });
  absl::StrAppend(&out, "   ", Plural(status.producers(), "producer"), ", ",
                  Plural(here, "worker"));
  if (status.disk_reserve_bytes() > 0) {
    absl::StrAppend(&out, "   disk ", Bytes(status.disk_free_bytes()), " free");
  }
  if (status.insecure()) absl::StrAppend(&out, "   INSECURE: open to the network");
  out += "\n";
  for (const wire::Counter& counter : status.counters()) {
    if (counter.name() == "connections_refused") {
      absl::StrAppend(&out, "TOO MANY DESCRIPTORS: ", Plural(counter.value(), "connection"),
                      " refused since the start; raise ulimit -n\n");
    }
  }
  if (status.disk() == "low" || status.disk() == "full") {
    absl::StrAppend(&out, "DISK FULL: of the ", Bytes(status.disk_reserve_bytes()),
                    " kept in reserve ", Bytes(status.disk_free_bytes()),
                    " are left; durable queues take no jobs",
                    status.disk() == "full" ? " and start none" : "", " until there is room\n");
  }
  return out;
}

std::string Gate(const wire::QueueStatus& queue) {
  std::vector<std::string> reasons;
  if (queue.full() && !queue.full_by_disk()) reasons.push_back("full");
  if (queue.full_by_disk() || queue.gate() == "disk full") reasons.push_back("disk full");
  // A queue without waiting jobs has no gate, but is paused for those to come.
  if (queue.paused() && queue.gate() != "paused") reasons.push_back("paused");
  if (!queue.gate().empty() && queue.gate() != "disk full") reasons.push_back(queue.gate());
  return reasons.empty() ? "-" : Shown(absl::StrJoin(reasons, "; "), kGateColumnsMax);
}

std::string QueueTable(const wire::StatusReply& status) {
  Table table({{"QUEUE", Align::kLeft},
               {"ACCEPTED"},
               {"WAITING"},
               {"LEASED"},
               {"COMPLETED"},
               {"DEAD"},
               {"CANCELLED"},
               {"EXPIRED"},
               {"RETRIES"},
               {"IN/S"},
               {"OUT/S"},
               {"GATE", Align::kLeft}});
  for (const wire::QueueStatus& queue : status.queues()) {
    table.Add({Shown(queue.name(), kQueueColumnsMax), Count(queue.accepted()),
               Count(queue.waiting()), Count(queue.leased()), Count(queue.completed()),
               Count(queue.dead()), Count(queue.cancelled()), Count(queue.expired()),
               Count(queue.retries()), Rate(queue.accepted_per_second()),
               Rate(queue.ended_per_second()), Gate(queue)});
  }
  return table.ToString();
}

bool Shaped(const wire::QueueStatus& queue) {
  return queue.scheduled() > 0 || queue.follow_ons() > 0 || queue.batches() > 0 ||
         queue.rate_pauses() > 0 || !queue.breaker().empty();
}

// What shapes the work of a queue beside its workers; only queues that have some of it.
std::string ShapeTable(const wire::StatusReply& status) {
  Table table({{"QUEUE", Align::kLeft},
               {"SCHEDULED"},
               {"FOLLOW-ONS"},
               {"BATCHES"},
               {"SIZE"},
               {"BYTES"},
               {"LINGER"},
               {"DRAIN"},
               {"HALVED"},
               {"RATE PAUSES"},
               {"BREAKER", Align::kLeft},
               {"OPENED"}});
  for (const wire::QueueStatus& queue : status.queues()) {
    if (!Shaped(queue)) continue;
    const bool breaker = !queue.breaker().empty();
    table.Add({Shown(queue.name(), kQueueColumnsMax - 4), Count(queue.scheduled()),
               Count(queue.follow_ons()), Count(queue.batches()), Count(queue.batches_by_size()),
               Count(queue.batches_by_bytes()), Count(queue.batches_by_linger()),
               Count(queue.batches_by_drain()), Count(queue.batches_halved()),
               Count(queue.rate_pauses()), breaker ? Shown(queue.breaker(), 10) : "-",
               breaker ? Count(queue.breaker_opened()) : "-"});
  }
  return table.ToString();
}

// One row for each queue of a worker; what concerns the whole worker is in the first of them.
std::string WorkerTable(const wire::StatusReply& status) {
  Table table({{"WORKER", Align::kLeft},
               {"STATE", Align::kLeft},
               {"SLOTS"},
               {"COMPLETED"},
               {"FAILED"},
               {"SILENT"},
               {"QUEUE", Align::kLeft},
               {"LEASED"},
               {"CREDIT"},
               {"SERVICE TIME"}});
  for (const wire::WorkerStatus& worker : status.workers()) {
    std::vector<std::string> row = {Shown(worker.name(), kWorkerColumnsMax),
                                    Shown(worker.state(), 10),
                                    Count(worker.slots()),
                                    Count(worker.completed()),
                                    Count(worker.failed()),
                                    absl::StrFormat("%.1f s", worker.silent_ms() / 1e3)};
    if (worker.queues().empty()) {
      row.insert(row.end(), {"-", Count(worker.leased()), "-", "-"});
      table.Add(std::move(row));
      continue;
    }
    for (const wire::WorkerQueueStatus& queue : worker.queues()) {
      row.insert(row.end(), {Shown(queue.name(), kQueueColumnsMax), Count(queue.leased()),
                             Count(queue.credit()), ShortTime(queue.service_time_ns())});
      table.Add(std::move(row));
      row.assign(6, "");
    }
  }
  return table.ToString();
}

Json ToJson(const google::protobuf::Message& message);

// Element `index` of a repeated field, or the field itself if `index` is -1.
Json FieldToJson(const google::protobuf::Message& message,
                 const google::protobuf::FieldDescriptor& field, int index) {
  using Field = google::protobuf::FieldDescriptor;
  const google::protobuf::Reflection& in = *message.GetReflection();
  const bool one = index < 0;
  switch (field.cpp_type()) {
    case Field::CPPTYPE_BOOL:
      return one ? in.GetBool(message, &field) : in.GetRepeatedBool(message, &field, index);
    case Field::CPPTYPE_UINT32:
      return one ? in.GetUInt32(message, &field) : in.GetRepeatedUInt32(message, &field, index);
    case Field::CPPTYPE_UINT64:
      return one ? in.GetUInt64(message, &field) : in.GetRepeatedUInt64(message, &field, index);
    case Field::CPPTYPE_DOUBLE:
      return one ? in.GetDouble(message, &field) : in.GetRepeatedDouble(message, &field, index);
    case Field::CPPTYPE_STRING:
      return one ? in.GetString(message, &field) : in.GetRepeatedString(message, &field, index);
    case Field::CPPTYPE_MESSAGE:
      return ToJson(one ? in.GetMessage(message, &field)
                        : in.GetRepeatedMessage(message, &field, index));
    default:
      return nullptr;  // no other type is in a status; a test looks at every field
  }
}

Json ToJson(const google::protobuf::Message& message) {
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  Json out = Json::object();
  for (int i = 0; i < type.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *type.field(i);
    if (!field.is_repeated()) {
      out[field.name()] = FieldToJson(message, field, -1);
      continue;
    }
    Json list = Json::array();
    const int size = message.GetReflection()->FieldSize(message, &field);
    for (int k = 0; k < size; ++k) list.push_back(FieldToJson(message, field, k));
    out[field.name()] = std::move(list);
  }
  return out;
}

}  // namespace

std::string StatusText(const wire::StatusReply& status) {
  std::string out = Head(status) + "\n";
  if (status.queues().empty()) {
    out +=
        "No queues yet: a queue begins with its first job or worker, for example\n"
        "  echo hello | whippletree-producer submit --queue demo\n";
  } else {
    out += QueueTable(status);
  }
  for (const wire::QueueStatus& queue : status.queues()) {
    if (!queue.durable_kept()) continue;
    absl::StrAppend(&out, "Queue ", Printable(queue.name()), " is ",
                    queue.durable() ? "durable, and stays so" : "in memory, and stays there",
                    " until it is dropped (whippletree-broker queue drop): the configuration says "
                    "durable: ",
                    queue.durable() ? "false" : "true", "\n");
  }
  out += "\n";
  if (std::any_of(status.queues().begin(), status.queues().end(), Shaped)) {
    out += ShapeTable(status) + "\n";
  }
  if (status.workers().empty()) {
    out +=
        "No workers: start one, for example\n"
        "  whippletree-worker --queue demo --handler upper\n";
  } else {
    out += WorkerTable(status);
  }
  return out;
}

std::string StatusJson(const wire::StatusReply& status) {
  Json out = ToJson(status);
  Json counters = Json::object();
  for (const wire::Counter& counter : status.counters()) {
    counters[counter.name()] = counter.value();
  }
  out["counters"] = std::move(counters);
  out.erase("next");  // of a reply, not of the broker
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace whippletree
