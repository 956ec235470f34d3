// `whippletree-broker dead` and `whippletree-broker jobs`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "broker/client.h"

namespace whippletree {

class JobCommands {
 public:
  // Adds them to `app`. The object must outlive it.
  explicit JobCommands(CLI::App* app);
  // Does what was given, and returns the exit code. REQUIRES: one of them was given.
  int Run();

 private:
  CLI::App* AddDead(CLI::App* parent, const char* name, const char* about,
                    wire::DeadRequest::Action action);
  CLI::App* AddJobs(CLI::App* parent, const char* name, const char* about,
                    wire::JobsRequest::Action action);
  int Dead(wire::DeadRequest::Action action) const;
  int Jobs(wire::JobsRequest::Action action) const;
  int ListJobs() const;

  ClientOptions client_;
  std::vector<std::string> ids_;
  std::string queue_;
  std::string whole_queue_;  // of dead jobs, all of which are meant
  uint32_t limit_ = 100;
  bool json_ = false;
  std::vector<std::pair<CLI::App*, std::function<int()>>> commands_;
};

}  // namespace whippletree
