#include "broker/ledger.h"

#include <algorithm>

#include "broker/status_table.h"
#include "common/printable.h"

namespace whippletree {
namespace {

uint64_t Sum(const wire::QueueStatus& queue) {
  return queue.waiting() + queue.leased() + queue.completed() + queue.dead() + queue.cancelled() +
         queue.expired();
}

std::string Balance(const wire::QueueStatus& queue) {
  const uint64_t sum = Sum(queue);
  if (sum == queue.accepted()) return "ok";
  return sum < queue.accepted() ? std::to_string(queue.accepted() - sum) + " missing"
                                : std::to_string(sum - queue.accepted()) + " too many";
}

}  // namespace

std::string LedgerText(const wire::StatusReply& status) {
  Table table({{"QUEUE", Align::kLeft},
               {"ACCEPTED"},
               {"WAITING"},
               {"LEASED"},
               {"COMPLETED"},
               {"DEAD"},
               {"CANCELLED"},
               {"EXPIRED"},
               {"BALANCE", Align::kLeft}});
  const auto add = [&](const std::string& name, const wire::QueueStatus& queue) {
    table.Add({name, std::to_string(queue.accepted()), std::to_string(queue.waiting()),
               std::to_string(queue.leased()), std::to_string(queue.completed()),
               std::to_string(queue.dead()), std::to_string(queue.cancelled()),
               std::to_string(queue.expired()), Balance(queue)});
  };
  wire::QueueStatus all;
  const auto sum = [&](const std::string& name, const wire::QueueStatus& queue) {
    add(name, queue);
    all.set_accepted(all.accepted() + queue.accepted());
    all.set_waiting(all.waiting() + queue.waiting());
    all.set_leased(all.leased() + queue.leased());
    all.set_completed(all.completed() + queue.completed());
    all.set_dead(all.dead() + queue.dead());
    all.set_cancelled(all.cancelled() + queue.cancelled());
    all.set_expired(all.expired() + queue.expired());
  };
  for (const wire::QueueStatus& queue : status.queues()) sum(Printable(queue.name()), queue);
  if (status.has_dropped()) sum("(dropped)", status.dropped());
  add("all", all);
  return table.ToString();
}

bool LedgerBalances(const wire::StatusReply& status) {
  return Sum(status.dropped()) == status.dropped().accepted() &&
         std::all_of(status.queues().begin(), status.queues().end(),
                     [](const auto& queue) { return Sum(queue) == queue.accepted(); });
}

}  // namespace whippletree
