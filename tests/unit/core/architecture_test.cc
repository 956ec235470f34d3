// The architecture, read from the source tree: what must not be in the state machines and sessions,
// which way includes may point, and that every source file is built.
#include <fnmatch.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace whippletree {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = WHIPPLETREE_SOURCE_DIR;
const std::vector<std::string> kFolders = {"broker", "common", "producer", "worker", "tests"};

std::string Read(const fs::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// Sources below `folder`, as paths from the root, in order.
std::vector<std::string> Sources(const std::string& folder) {
  std::vector<std::string> sources;
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / folder)) {
    const std::string extension = entry.path().extension();
    if (extension != ".cc" && extension != ".h") continue;
    sources.push_back(fs::relative(entry.path(), kRoot));
  }
  std::sort(sources.begin(), sources.end());
  return sources;
}

std::vector<std::string> AllSources() {
  std::vector<std::string> all;
  for (const std::string& folder : kFolders) {
    for (std::string& source : Sources(folder)) all.push_back(std::move(source));
  }
  return all;
}

bool StartsWith(const std::string& text, const std::string& prefix) {
  return text.compare(0, prefix.size(), prefix) == 0;
}

// Whether one of `patterns` (with * and ?, which stop at no slash) fits.
bool Matches(const std::string& path, const std::vector<std::string>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return fnmatch(pattern.c_str(), path.c_str(), 0) == 0;
  });
}

// What `source` includes, without < > and quotes.
std::vector<std::string> IncludesOf(const std::string& source) {
  static const std::regex include(R"re(^\s*#\s*include\s*[<"]([^>"]+)[>"])re");
  std::vector<std::string> includes;
  std::istringstream lines(Read(kRoot / source));
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_search(line, match, include)) includes.push_back(match[1]);
  }
  return includes;
}

// Without comments, so that these may speak of clocks.
std::string CodeOf(const std::string& source) {
  std::string code;
  std::istringstream lines(Read(kRoot / source));
  for (std::string line; std::getline(lines, line);) {
    code += line.substr(0, line.find("//")) + "\n";
  }
  return code;
}

// They run in the simulator: everything they know of the world is given to them.
const std::vector<std::string> kPure = {"broker/core/*",
                                        "broker/store/store.h",
                                        "broker/store/memory_store.h",
                                        "broker/store/map_store.*",
                                        "broker/store/keys.*",
                                        "broker/store/commit_chain.*",
                                        "broker/store/row_checker.*",
                                        "producer/session*",
                                        "producer/follow_ons.*",
                                        "producer/groups.*",
                                        "producer/outcome_acks.*",
                                        "producer/queue_watch.*",
                                        "producer/settled.*",
                                        "worker/session.*",
                                        "worker/prefetch_window.h",
                                        "worker/job_events.h",
                                        "common/wire_guard.*",
                                        "common/wire_limits.h",
                                        "common/session_link.*",
                                        "common/codec.*",
                                        "common/run.*",
                                        "common/interval_set.h",
                                        "common/resend_queue.h",
                                        "common/prng.h",
                                        "common/time.h",
                                        "common/status.*",
                                        "common/log_event.h",
                                        "common/check.h",
                                        "common/version.h",
                                        "common/utf8.*",
                                        "tests/sim/*"};

TEST(ArchitectureTest, StateMachinesAndSessionsTouchNothingOfTheWorld) {
  const std::vector<std::string> banned_includes = {
      "zmq*",          "thread",   "mutex",  "shared_mutex", "condition_variable",
      "atomic",        "future",   "random", "fstream",      "iostream",
      "filesystem",    "ctime",    "time.h", "unistd.h",     "sys/*",
      "netinet/*",     "arpa/*",   "poll.h", "spdlog/*",     "unordered_map",
      "unordered_set", "signal.h", "csignal"};
  const std::regex banned_calls(
      R"re(::now\s*\(|\bclock_gettime\b|\bgettimeofday\b|(^|[^\w.>])time\s*\(|\brandom_device\b)re"
      R"re(|\bmt19937|(^|[^\w.>])s?rand\s*\(|\bgetenv\b|\bsleep_for\b|\busleep\b|\bnanosleep\b)re"
      R"re(|\bstd::thread\b|\bstd::mutex\b|\bfopen\b|(^|[^\w.>:])socket\s*\()re");
  int files = 0;
  for (const std::string& source : AllSources()) {
    if (!Matches(source, kPure)) continue;
    ++files;
    // The simulator's own main prints its seeds and reads its arguments; its memory comes from the
    // kernel.
    const std::string allowed = source == "tests/sim/main.cc"             ? "iostream"
                                : source == "tests/sim/pool_allocator.cc" ? "sys/mman.h"
                                                                          : "";
    for (const std::string& include : IncludesOf(source)) {
      EXPECT_FALSE(Matches(include, banned_includes) && include != allowed)
          << source << " includes " << include;
    }
    const std::string code = CodeOf(source);
    std::smatch match;
    EXPECT_FALSE(std::regex_search(code, match, banned_calls)) << source << ": " << match.str();
  }
  EXPECT_GE(files, 40);  // else the tree was not found
}

// Their order differs from one run to the next.
TEST(ArchitectureTest, UnorderedContainersAreNeverIterated) {
  const std::regex declaration(
      R"re((?:unordered|flat_hash|node_hash)_(?:map|set)<[^;]*>\s+(\w+))re");
  for (const std::string& source : AllSources()) {
    if (!Matches(source, kPure)) continue;
    const std::string code = CodeOf(source);
    for (std::sregex_iterator it(code.begin(), code.end(), declaration), end; it != end; ++it) {
      const std::string name = (*it)[1];
      const std::regex iteration("for\\s*\\([^;)]*:\\s*" + name + "\\s*\\)|\\b" + name +
                                 "\\.c?begin\\(");
      const std::string folder = fs::path(source).parent_path();
      for (const std::string& other : Sources(folder)) {
        EXPECT_FALSE(std::regex_search(CodeOf(other), iteration)) << other << " iterates " << name;
      }
    }
  }
}

TEST(ArchitectureTest, OneFileIncludesZeroMq) {
  std::vector<std::string> includers;
  for (const std::string& source : AllSources()) {
    if (StartsWith(source, "tests/bench/peers/")) continue;  // raw sockets to compare with
    for (const std::string& include : IncludesOf(source)) {
      if (StartsWith(include, "zmq")) includers.push_back(source);
    }
  }
  EXPECT_EQ(includers, std::vector<std::string>{"common/socket.cc"});
}

TEST(ArchitectureTest, OneFileIncludesRocksdb) {
  std::vector<std::string> includers;
  for (const std::string& source : AllSources()) {
    if (StartsWith(source, "tests/")) continue;
    for (const std::string& include : IncludesOf(source)) {
      if (StartsWith(include, "rocksdb/")) includers.push_back(source);
    }
  }
  includers.erase(std::unique(includers.begin(), includers.end()), includers.end());
  EXPECT_EQ(includers, std::vector<std::string>{"broker/store/rocksdb_db.cc"});
}

TEST(ArchitectureTest, OneFileReadsClocks) {
  const std::regex reading(
      R"re(_clock::now\s*\(|\bclock_gettime\s*\(|\bgettimeofday\s*\(|absl::Now)re");
  std::vector<std::string> readers;
  for (const std::string& source : AllSources()) {
    if (StartsWith(source, "tests/unit/") || StartsWith(source, "tests/library/")) continue;
    if (std::regex_search(CodeOf(source), reading)) readers.push_back(source);
  }
  EXPECT_EQ(readers, std::vector<std::string>{"common/clock.cc"});
}

TEST(ArchitectureTest, IncludesPointOneWay) {
  // What may be included of this project by files that match; the first that matches counts.
  const struct {
    std::vector<std::string> files;
    std::vector<std::string> may_include;
  } rules[] = {
      {{"common/*"}, {"common/*"}},
      {{"broker/core/*"}, {"broker/core/*"}},
      {{"broker/store/*"}, {"broker/store/*", "common/*"}},
      {{"broker/*"}, {"broker/*", "common/*"}},
      {{"producer/session*", "producer/follow_ons.*", "producer/groups.*",
        "producer/outcome_acks.*", "producer/queue_watch.*", "producer/settled.*",
        "producer/input_hash.h"},
       {"producer/session.h", "producer/follow_ons.h", "producer/groups.h",
        "producer/outcome_acks.h", "producer/queue_watch.h", "producer/settled.h",
        "producer/input_hash.h"}},
      {{"producer/*"}, {"producer/*", "common/*"}},
      {{"worker/session.*", "worker/prefetch_window.h", "worker/job_events.h"},
       {"worker/session.h", "worker/prefetch_window.h", "worker/job_events.h"}},
      {{"worker/*"}, {"worker/*", "common/*"}},
      {{"tests/sim/*"},
       {"tests/sim/*", "tests/unit/core/*", "broker/core/*", "broker/store/map_store.h",
        "producer/session.h", "worker/session.h"}},
  };
  for (const std::string& source : AllSources()) {
    const auto* rule = std::find_if(std::begin(rules), std::end(rules),
                                    [&](const auto& r) { return Matches(source, r.files); });
    if (rule == std::end(rules)) continue;  // other tests
    for (const std::string& include : IncludesOf(source)) {
      const bool ours = std::any_of(kFolders.begin(), kFolders.end(), [&](const auto& folder) {
        return StartsWith(include, folder + "/");
      });
      if (!ours || Matches(include, rule->may_include)) continue;
      // What is pure may use what is pure.
      EXPECT_TRUE(StartsWith(include, "common/") && Matches(include, kPure))
          << source << " includes " << include;
    }
  }
}

TEST(ArchitectureTest, EverySourceFileIsBuilt) {
  for (const std::string& source : AllSources()) {
    if (fs::path(source).extension() != ".cc") continue;
    bool named = false;
    for (fs::path folder = fs::path(source).parent_path(); !named; folder = folder.parent_path()) {
      const std::string lists = Read(kRoot / folder / "CMakeLists.txt");
      const std::string relative =
          fs::path(source).lexically_relative(folder.empty() ? fs::path(".") : folder);
      static const std::regex word(R"re([^\s()"]+\.cc)re");
      for (std::sregex_iterator it(lists.begin(), lists.end(), word), end; it != end; ++it) {
        named = named || fnmatch(it->str().c_str(), relative.c_str(), FNM_PATHNAME) == 0;
      }
      if (folder.empty()) break;
    }
    EXPECT_TRUE(named) << source << " is in no CMakeLists.txt";
  }
}

}  // namespace
}  // namespace whippletree
