#include "broker/job_commands.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <set>
#include <utility>

#include "broker/job_text.h"
#include "common/check.h"
#include "common/cli.h"
#include "common/codec.h"
#include "common/printable.h"
#include "common/status.h"

namespace whippletree {
namespace {

constexpr char kDeadAbout[] =
    R"(whippletree-broker dead - looks at dead jobs and what to do with them

A job is dead when it has failed for good: it used up its attempts, or its status says that trying
again is in vain. The last ones of each queue are kept, with payload and history (`dead` in the
queue's policy says how many).)";
constexpr char kListAbout[] =
    R"(whippletree-broker dead list - lists dead jobs, the longest dead first)";
constexpr char kShowAbout[] =
    R"(whippletree-broker dead show - shows dead jobs with payload and the last attempts)";
constexpr char kRequeueAbout[] = R"(whippletree-broker dead requeue - runs dead jobs again

Each becomes a new job with the same payload, key and limits, fresh attempts and an id of its own.
Nobody waits for its outcome. The dead one stays counted as dead.)";
constexpr char kDropAbout[] = R"(whippletree-broker dead drop - forgets dead jobs

They stay counted as dead.)";
constexpr char kJobsAbout[] = R"(whippletree-broker jobs - looks at single jobs, and ends them

A job's id is <stream>-<number>, as in logs and outcomes.)";
constexpr char kJobShowAbout[] = R"(whippletree-broker jobs show - shows where jobs are)";
constexpr char kJobListAbout[] =
    R"(whippletree-broker jobs list - lists the jobs of a queue that have no outcome

What is leased comes first. Jobs that are alike share a line.)";
constexpr char kCancelAbout[] = R"(whippletree-broker jobs cancel - ends jobs

A job that waits is cancelled at once; of one that is leased its worker is told, and it is cancelled
when the worker has answered or its lease has ended. An outcome that was there before stands.)";

constexpr size_t kIdsPerRequest = 1000;

absl::StatusOr<wire::DeadReply> AskDead(AdminClient* client, const wire::DeadRequest& request) {
  wire::AdminRequest admin;
  *admin.mutable_dead() = request;
  absl::StatusOr<wire::AdminReply> reply = client->Ask(std::move(admin));
  if (!reply.ok()) return reply.status();
  return std::move(*reply->mutable_dead());
}

// Those that `reply` told of are not asked for again.
void DropTold(const wire::DeadReply& reply, wire::DeadRequest* request) {
  std::set<std::pair<uint64_t, uint64_t>> told;
  for (const wire::DeadJob& job : reply.jobs()) told.emplace(job.id().stream(), job.id().number());
  auto* ids = request->mutable_ids();
  ids->erase(std::remove_if(ids->begin(), ids->end(),
                            [&](const wire::JobId& id) {
                              return told.contains({id.stream(), id.number()});
                            }),
             ids->end());
}

int Usage(const std::string& message) {
  PrintError("whippletree-broker", message);
  return kExitUsage;
}

}  // namespace

JobCommands::JobCommands(CLI::App* app) {
  CLI::App* dead = app->add_subcommand("dead", kDeadAbout);
  dead->require_subcommand(1);
  using DeadAction = wire::DeadRequest;
  AddNumber(AddDead(dead, "list", kListAbout, DeadAction::LIST), "--limit", &limit_,
            "The most jobs to list; 0: all");
  AddDead(dead, "show", kShowAbout, DeadAction::SHOW);
  AddDead(dead, "requeue", kRequeueAbout, DeadAction::REQUEUE);
  AddDead(dead, "drop", kDropAbout, DeadAction::DROP);
  CLI::App* jobs = app->add_subcommand("jobs", kJobsAbout);
  jobs->require_subcommand(1);
  AddJobs(jobs, "show", kJobShowAbout, wire::JobsRequest::SHOW);
  AddJobs(jobs, "list", kJobListAbout, wire::JobsRequest::LIST);
  AddJobs(jobs, "cancel", kCancelAbout, wire::JobsRequest::CANCEL);
}

CLI::App* JobCommands::AddDead(CLI::App* parent, const char* name, const char* about,
                               wire::DeadRequest::Action action) {
  CLI::App* command = parent->add_subcommand(name, about);
  const bool is_list = action == wire::DeadRequest::LIST;
  CLI::Option* ids = nullptr;
  if (!is_list) ids = command->add_option("ID", ids_, "The jobs, such as 3-17");
  if (action != wire::DeadRequest::SHOW) {
    CLI::Option* queue = command
                             ->add_option("-q,--queue", is_list ? queue_ : whole_queue_,
                                          is_list ? "Only those of it" : "All of it")
                             ->type_name("QUEUE");
    // What was exported for other commands must not make this one mean a whole queue. (It would set
    // what they set, too: variables are read for all commands.)
    if (ids != nullptr) ids->excludes(queue->configurable(false));
  }
  command->add_flag("--json", json_, "A JSON object a line instead");
  AddClientOptions(command, &client_);
  commands_.emplace_back(command, [this, action] { return Dead(action); });
  return command;
}

CLI::App* JobCommands::AddJobs(CLI::App* parent, const char* name, const char* about,
                               wire::JobsRequest::Action action) {
  CLI::App* command = parent->add_subcommand(name, about);
  if (action == wire::JobsRequest::LIST) {
    command->add_option("-q,--queue", queue_, "The queue")->type_name("QUEUE")->required();
    AddNumber(command, "--limit", &limit_, "The most lines", 1, 10'000);
  } else {
    command->add_option("ID", ids_, "The jobs, such as 3-17")->required();
  }
  command->add_flag("--json", json_, "A JSON object a line instead");
  AddClientOptions(command, &client_);
  commands_.emplace_back(command, [this, action] { return Jobs(action); });
  return command;
}

int JobCommands::Run() {
  const auto given = std::find_if(commands_.begin(), commands_.end(),
                                  [](const auto& command) { return command.first->parsed(); });
  WT_CHECK(given != commands_.end());
  for (const std::string& queue : {queue_, whole_queue_}) {
    const std::string error = queue.empty() ? "" : QueueNameError(queue);
    if (!error.empty()) return Usage("--queue: " + Quoted(queue) + ": " + error);
  }
  return given->second();
}

int JobCommands::Dead(wire::DeadRequest::Action action) const {
  const bool is_list = action == wire::DeadRequest::LIST;
  const std::string& queue = is_list ? queue_ : whole_queue_;
  if (!is_list && ids_.empty() && queue.empty()) {
    return Usage(action == wire::DeadRequest::SHOW
                     ? "say which dead jobs: their ids, as `dead list` tells them"
                     : "say which dead jobs: their ids, or --queue for all of a queue");
  }
  std::vector<wire::DeadRequest> requests;
  for (size_t i = 0; i < ids_.size(); ++i) {
    const absl::StatusOr<wire::JobId> id = ParseJobId(ids_[i]);
    if (!id.ok()) return Usage("ID: " + std::string(id.status().message()));
    if (i % kIdsPerRequest == 0) requests.emplace_back().set_action(action);
    *requests.back().add_ids() = *id;
  }
  if (ids_.empty()) {
    requests.emplace_back().set_action(action);
    requests.back().set_queue(queue);
  }
  // A reply has a part of a long list.
  uint64_t jobs = 0;
  uint64_t left = is_list && limit_ > 0 ? limit_ : UINT64_MAX;
  wire::DeadReply last;
  wire::DeadReply all;
  const auto client = MakeClient(client_);
  if (!client.ok()) return FailCommand(client.status());
  for (wire::DeadRequest& request : requests) {
    do {
      if (is_list) request.set_limit(static_cast<uint32_t>(std::min<uint64_t>(left, 1000)));
      absl::StatusOr<wire::DeadReply> reply = AskDead(client->get(), request);
      if (!reply.ok()) return FailCommand(reply.status(), true);
      last = *std::move(reply);
      request.set_through(last.through());
      jobs += static_cast<uint64_t>(last.jobs_size());
      left -= static_cast<uint64_t>(last.jobs_size());
      if (last.jobs_size() > 0) request.set_after(is_list ? last.jobs().rbegin()->order() : 0);
      DropTold(last, &request);
      if (json_) {
        std::fputs(DeadJson(last).c_str(), stdout);
      } else if (action == wire::DeadRequest::SHOW) {
        for (const wire::DeadJob& job : last.jobs()) std::fputs(DeadJobText(job).c_str(), stdout);
      } else if (is_list) {
        all.MergeFrom(last);
      } else {
        for (const wire::DeadJob& job : last.jobs()) {
          const std::string id = JobIdText(job.id());
          if (action == wire::DeadRequest::DROP) {
            std::printf("%s is dropped\n", id.c_str());
          } else {
            std::printf("%s is requeued as %s\n", id.c_str(), JobIdText(job.requeued_as()).c_str());
          }
        }
      }
    } while (last.more() && left > 0 && last.error().code() == 0);
    if (last.error().code() != 0) break;
  }
  if (is_list && !json_) {
    std::fputs(DeadText(all).c_str(), stdout);
    if (last.more())
      std::printf("and more: %zu are kept in all; see --limit\n", size_t{last.kept()});
  }
  if (last.error().code() == 0) return kExitOk;
  PrintError("whippletree-broker", std::to_string(jobs) + " were requeued; " +
                                       std::string(FromWire(last.error()).message()));
  return kExitIncomplete;
}

int JobCommands::Jobs(wire::JobsRequest::Action action) const {
  if (action == wire::JobsRequest::LIST) return ListJobs();
  std::vector<wire::JobId> ids;
  for (const std::string& text : ids_) {
    const absl::StatusOr<wire::JobId> id = ParseJobId(text);
    if (!id.ok()) return Usage("ID: " + std::string(id.status().message()));
    ids.push_back(*id);
  }
  const auto client = MakeClient(client_);
  if (!client.ok()) return FailCommand(client.status());
  int code = kExitOk;
  for (const wire::JobId& id : ids) {
    wire::AdminRequest admin;
    admin.mutable_jobs()->set_action(action);
    *admin.mutable_jobs()->mutable_id() = id;
    const absl::StatusOr<wire::AdminReply> reply = (*client)->Ask(std::move(admin));
    if (!reply.ok()) {
      code = FailCommand(reply.status(), true);
      // The next job may be another matter.
      if (absl::IsNotFound(reply.status()) || absl::IsFailedPrecondition(reply.status())) continue;
      return code;
    }
    const wire::JobsReply& jobs = reply->jobs();
    if (json_) {
      std::fputs(JobsJson(jobs).c_str(), stdout);
      continue;
    }
    for (const wire::JobState& job : jobs.jobs()) std::fputs(JobText(job).c_str(), stdout);
  }
  return code;
}

int JobCommands::ListJobs() const {
  const auto client = MakeClient(client_);
  if (!client.ok()) return FailCommand(client.status());
  wire::JobsReply all;
  all.set_more(true);
  while (all.more() && static_cast<uint32_t>(all.jobs_size()) < limit_) {
    wire::AdminRequest admin;
    wire::JobsRequest* request = admin.mutable_jobs();
    request->set_action(wire::JobsRequest::LIST);
    request->set_queue(queue_);
    request->set_after(static_cast<uint64_t>(all.jobs_size()));
    request->set_limit(limit_ - static_cast<uint32_t>(all.jobs_size()));
    const absl::StatusOr<wire::AdminReply> reply = (*client)->Ask(std::move(admin));
    if (!reply.ok()) return FailCommand(reply.status(), true);
    all.set_more(false);
    all.MergeFrom(reply->jobs());
  }
  std::fputs((json_ ? JobsJson(all) : JobsText(all)).c_str(), stdout);
  if (json_) return kExitOk;
  if (all.more()) std::printf("and more; see --limit\n");
  if (all.cut()) std::printf("and perhaps more, behind what the broker looks through\n");
  return kExitOk;
}

}  // namespace whippletree
