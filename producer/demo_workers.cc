#include "producer/demo_workers.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <thread>

#include "common/check.h"
#include "common/clock.h"
#include "common/printable.h"

extern char** environ;

namespace whippletree {
namespace {

constexpr Duration kEndMax = seconds(5);
constexpr Duration kLookInterval = milliseconds(20);
constexpr size_t kShownBytes = 1500;  // of the output of a worker
constexpr int kNotFound = 127;

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// That of this process without options of the programs, which would mix with the arguments.
std::vector<std::string> Environment() {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!absl::StartsWith(*variable, "WHIPPLETREE_")) variables.emplace_back(*variable);
  }
  return variables;
}

int TemporaryFile(const char* name) {
  const int fd = memfd_create(name, MFD_CLOEXEC);
  WT_CHECK(fd >= 0);
  return fd;
}

// Starts a program with nothing to read. It dies with this thread, and is in a session of its own,
// so that Ctrl-C reaches this process alone.
pid_t Spawn(std::vector<std::string> argv, int out, int err) {
  std::vector<std::string> variables = Environment();
  const std::vector<char*> argument_pointers = Pointers(argv);
  const std::vector<char*> variable_pointers = Pointers(variables);
  const int in = open("/dev/null", O_RDWR | O_CLOEXEC);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) {
    close(in);
    return pid;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kNotFound);  // it has died before this
  setsid();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGINT, SIGTERM, SIGPIPE}) signal(number, SIG_DFL);
  dup2(in, STDIN_FILENO);
  dup2(out >= 0 ? out : in, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  execvpe(argument_pointers[0], argument_pointers.data(), variable_pointers.data());
  constexpr char kMessage[] = "cannot be started; is it beside whippletree-producer or in PATH?\n";
  [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, kMessage, sizeof(kMessage) - 1);
  _exit(kNotFound);
}

// Its last `bytes_max` bytes.
std::string ReadFile(int fd, size_t bytes_max) {
  const off_t size = lseek(fd, 0, SEEK_END);
  const off_t begin = std::max<off_t>(0, size - static_cast<off_t>(bytes_max));
  std::string text(static_cast<size_t>(size - begin), '\0');
  const ssize_t n = pread(fd, text.data(), text.size(), begin);
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return text;
}

bool HasEnded(pid_t pid) { return waitpid(pid, nullptr, WNOHANG) != 0; }

}  // namespace

std::string SiblingProgram(const std::string& name) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return name;
  const std::filesystem::path path = self.parent_path() / name;
  return access(path.c_str(), X_OK) == 0 ? path.string() : name;
}

absl::StatusOr<std::string> RunProgram(const std::vector<std::string>& argv) {
  const int out = TemporaryFile("stdout");
  const int err = TemporaryFile("stderr");
  const pid_t pid = Spawn(argv, out, err);
  int ended = -1;
  while (pid > 0 && waitpid(pid, &ended, 0) < 0 && errno == EINTR) {
  }
  std::string output = ReadFile(out, std::string::npos / 2);
  const std::string errors = ReadFile(err, kShownBytes);
  close(out);
  close(err);
  if (ended != 0) return absl::UnavailableError(absl::StrCat(argv[0], ": ", errors));
  return output;
}

DemoWorkers::~DemoWorkers() {
  for (const Worker& worker : workers_) {
    if (worker.pid == 0) continue;
    kill(worker.pid, SIGTERM);
    kill(worker.pid, SIGCONT);
  }
  const MonoTime end = ReadClock().mono + kEndMax;
  for (const Worker& worker : workers_) {
    while (worker.pid != 0 && !HasEnded(worker.pid)) {
      if (ReadClock().mono > end) kill(worker.pid, SIGKILL);
      std::this_thread::sleep_for(kLookInterval);
    }
    close(worker.output);
  }
}

absl::Status DemoWorkers::Start(const std::string& name, int count,
                                const std::vector<std::string>& args) {
  for (int i = 0; i < count; ++i) {
    Worker worker;
    worker.name = absl::StrCat(name, "-", ++started_[name]);
    worker.output = TemporaryFile("stderr");
    std::vector<std::string> argv = {SiblingProgram("whippletree-worker"), "--broker", broker_,
                                     "--name", worker.name};
    argv.insert(argv.end(), args.begin(), args.end());
    worker.pid = Spawn(std::move(argv), -1, worker.output);
    const int error = errno;
    if (worker.pid < 0) {
      close(worker.output);
      return absl::UnavailableError(
          absl::StrCat("cannot start ", worker.name, ": ", std::strerror(error)));
    }
    workers_.push_back(std::move(worker));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> DemoWorkers::Connected() {
  bool all = true;
  for (Worker& worker : workers_) {
    if (worker.pid == 0) continue;
    if (HasEnded(worker.pid)) {
      worker.pid = 0;
      return absl::UnavailableError(absl::StrCat(worker.name, " has ended"));
    }
    // What it logs when the broker has welcomed it.
    worker.connected = worker.connected ||
                       absl::StrContains(ReadFile(worker.output, kShownBytes), "message=connected");
    all &= worker.connected;
  }
  return all;
}

void DemoWorkers::Freeze(const std::string& name) { kill(Find(name).pid, SIGSTOP); }

pid_t DemoWorkers::Kill(const std::string& name) {
  Worker& worker = Find(name);
  const pid_t pid = worker.pid;
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  worker.pid = 0;
  return pid;
}

std::string DemoWorkers::Output() const {
  std::string output;
  for (const Worker& worker : workers_) {
    const std::string text = ReadFile(worker.output, kShownBytes);
    if (text.empty()) continue;
    absl::StrAppend(&output, "--- ", worker.name, "\n", Printable(text, Newlines::kKeep));
  }
  return output;
}

DemoWorkers::Worker& DemoWorkers::Find(const std::string& name) {
  const auto found = std::find_if(workers_.begin(), workers_.end(),
                                  [&](const Worker& worker) { return worker.name == name; });
  WT_CHECK(found != workers_.end() && found->pid != 0);
  return *found;
}

}  // namespace whippletree
