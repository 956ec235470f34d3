#include "worker/exec_handler.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/status.h"

namespace whippletree {
namespace {

// For what must happen, on any machine.
constexpr int kPatienceMs = 60'000;

// Tests may run at the same time.
std::string TempPath(const std::string& name) {
  return testing::TempDir() + "exec_handler_test_" + std::to_string(getpid()) + "_" + name;
}

struct Ran {
  absl::StatusOr<std::string> result;
  absl::Status worker_failure;
};

Ran Exec(ExecOptions options, std::string_view payload = "") {
  JobContext context({.id = "3-14", .queue = "shell", .attempt = 2});
  auto result = MakeExecHandlers(std::move(options), nullptr).job(context, payload);
  return {std::move(result), context.worker_failure()};
}

Ran Sh(const std::string& script, std::string_view payload = "") {
  return Exec({.argv = {"sh", "-c", script}}, payload);
}

// A pipe whose write end programs inherit as descriptor 9: it ends when all of them have ended.
class Lifeline {
 public:
  Lifeline() {
    int fds[2];
    EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
    read_ = fds[0];
    EXPECT_EQ(dup2(fds[1], 9), 9);
    close(fds[1]);
  }
  ~Lifeline() {
    Release();
    close(read_);
  }
  // Waits for the next thing written to it; "" at its end, "?" when that takes too long.
  std::string Next() {
    pollfd fd = {read_, POLLIN, 0};
    if (poll(&fd, 1, kPatienceMs) <= 0) return "?";
    char buffer[100];
    const ssize_t size = read(read_, buffer, sizeof buffer);
    return std::string(buffer, size < 0 ? 0 : static_cast<size_t>(size));
  }
  // This process's own write end no longer counts.
  void Release() {
    if (std::exchange(held_, false)) close(9);
  }

 private:
  int read_ = -1;
  bool held_ = true;
};

// Two processes in the background, one of them a grandchild; says so, then waits.
constexpr char kFamily[] = "(sleep 1000 & sleep 1000) & sleep 1000 & echo up >&9; sleep 1000";

TEST(ExecHandlerTest, PayloadIsStdinAndResultIsStdoutByteForByte) {
  EXPECT_EQ(*Sh("read n; echo $((n*n))", "12\n").result, "144\n");
  EXPECT_EQ(*Exec({.argv = {"cat"}}).result, "");
  std::string bytes;
  for (int i = 0; i < 1000; ++i) bytes.push_back(static_cast<char>(i));
  EXPECT_EQ(*Exec({.argv = {"cat"}}, bytes).result, bytes);
}

TEST(ExecHandlerTest, NoShellTouchesArguments) {
  EXPECT_EQ(*Exec({.argv = {"printf", "%s|", "$HOME", "a b", "*", ""}}).result, "$HOME|a b|*||");
}

TEST(ExecHandlerTest, JobIsInTheEnvironment) {
  setenv("WHIPPLETREE_JOB_ID", "another", 1);
  EXPECT_EQ(*Sh("echo $WHIPPLETREE_JOB_ID $WHIPPLETREE_JOB_QUEUE $WHIPPLETREE_JOB_ATTEMPT; "
                "env | grep -c ^WHIPPLETREE_JOB_ID=")
                 .result,
            "3-14 shell 2\n1\n");
  unsetenv("WHIPPLETREE_JOB_ID");
}

TEST(ExecHandlerTest, LargePayloadsAndResultsPass) {
  std::string payload(10 << 20, 'x');
  for (size_t i = 0; i < payload.size(); i += 1000) payload[i] = static_cast<char>(i / 1000);
  EXPECT_TRUE(*Exec({.argv = {"cat"}}, payload).result == payload);
  EXPECT_EQ(Sh("head -c 10000000 /dev/zero").result->size(), 10'000'000u);
  // Writes all of its errors before it reads, and reads all before it writes.
  EXPECT_EQ(*Sh("head -c 1000000 /dev/zero | tr '\\0' e >&2; wc -c", payload).result,
            std::to_string(payload.size()) + "\n");
}

TEST(ExecHandlerTest, PayloadNeedNotBeRead) {
  const std::string payload(10 << 20, 'x');
  EXPECT_EQ(*Exec({.argv = {"true"}}, payload).result, "");
  EXPECT_EQ(*Sh("exec 0<&-; echo fine", payload).result, "fine\n");
  EXPECT_EQ(*Exec({.argv = {"head", "-c", "3"}}, payload).result, "xxx");
}

TEST(ExecHandlerTest, ClosedOutputsDoNotEndTheJob) {
  EXPECT_EQ(*Sh("echo out; exec >&- 2>&-; cat >/dev/null; exit 0", "x").result, "out\n");
  EXPECT_EQ(Sh("exec >&- 2>&-; exit 3").result.status().message(), "sh ended with exit code 3");
}

TEST(ExecHandlerTest, ExitCodesDecideWhatFollows) {
  EXPECT_TRUE(absl::IsInvalidArgument(Sh("exit 65").result.status()));
  EXPECT_TRUE(absl::IsUnavailable(Sh("exit 75").result.status()));
  EXPECT_EQ(Sh("echo partial; echo boom >&2; exit 7").result.status(),
            WithProgramEnd(absl::UnknownError("sh ended with exit code 7; stderr: boom"), {7, 0}));
  EXPECT_TRUE(Sh("exit 75").worker_failure.ok());
}

TEST(ExecHandlerTest, SignalsAreNamed) {
  EXPECT_EQ(
      Sh("echo dying >&2; kill -SEGV $$").result.status(),
      WithProgramEnd(absl::UnknownError("sh was killed by signal 11 (SIGSEGV); stderr: dying"),
                     {0, 11}));
  EXPECT_EQ(Sh("kill -KILL $$").result.status(),
            WithProgramEnd(absl::UnknownError("sh was killed by signal 9 (SIGKILL)"), {0, 9}));
}

TEST(ExecHandlerTest, EndOfStderrIsInTheMessage) {
  const auto message = [](const std::string& script) {
    return std::string(Sh(script + "; exit 1").result.status().message());
  };
  EXPECT_EQ(message("printf 'a\\r\\nb\\033[1m\\377 \\n\\n' >&2"),
            "sh ended with exit code 1; stderr: a\nb\\x1b[1m\\xff");
  // Cut at its begin, between two characters.
  const std::string cut = message("for i in $(seq 100000); do printf '€'; done >&2; echo end >&2");
  const std::string prefix = "sh ended with exit code 1; stderr: …€";
  EXPECT_EQ(cut.substr(0, prefix.size()), prefix);
  EXPECT_EQ(cut.substr(cut.size() - 6), "€end");
  EXPECT_GT(cut.size(), 1000u);
  EXPECT_LT(cut.size(), 1100u);
}

TEST(ExecHandlerTest, TooLargeAResultEndsTheJobAsDead) {
  const Ran ran = Exec({.argv = {"yes"}, .result_bytes_max = 100'000});
  EXPECT_EQ(ran.result.status(),
            absl::OutOfRangeError("yes wrote more than 100000 bytes of result"));
  EXPECT_TRUE(ran.worker_failure.ok());
  EXPECT_EQ(Exec({.argv = {"printf", "12345"}, .result_bytes_max = 5}).result->size(), 5u);
  EXPECT_TRUE(absl::IsOutOfRange(
      Exec({.argv = {"printf", "123456"}, .result_bytes_max = 5}).result.status()));
}

TEST(ExecHandlerTest, MissingCommandFailsTheWorker) {
  const Ran missing = Exec({.argv = {"no-such-command"}});
  EXPECT_TRUE(absl::IsUnavailable(missing.result.status()));
  EXPECT_EQ(missing.worker_failure,
            absl::FailedPreconditionError("cannot run \"no-such-command\": command not found; "
                                          "install it on this machine or give its full path"));
  EXPECT_TRUE(absl::IsFailedPrecondition(Exec({.argv = {"/no/such/command"}}).worker_failure));
}

TEST(ExecHandlerTest, WhatAProgramCannotRunFailsItsJobAlone) {
  const Ran from_shell = Sh("no-such-command");
  EXPECT_TRUE(absl::IsUnknown(from_shell.result.status()));
  EXPECT_TRUE(from_shell.worker_failure.ok());
  EXPECT_NE(from_shell.result.status().message().find("127 (command not found)"),
            std::string::npos);
  EXPECT_NE(from_shell.result.status().message().find("no-such-command"), std::string::npos);
  const Ran not_executable = Sh("exit 126");
  EXPECT_TRUE(absl::IsUnknown(not_executable.result.status()));
  EXPECT_TRUE(not_executable.worker_failure.ok());
}

TEST(ExecHandlerTest, FileThatCannotRunFailsTheWorker) {
  const std::string path = TempPath("script");
  std::ofstream(path) << "echo not run by a shell\n";
  chmod(path.c_str(), 0644);
  EXPECT_EQ(Exec({.argv = {path}}).worker_failure.message(),
            "cannot run \"" + path + "\": it is not an executable file; try chmod +x");
  chmod(path.c_str(), 0755);
  const Ran no_interpreter = Exec({.argv = {path}});
  EXPECT_TRUE(absl::IsFailedPrecondition(no_interpreter.worker_failure));
  EXPECT_NE(no_interpreter.worker_failure.message().find("#!"), std::string::npos);
  std::filesystem::remove(path);
}

TEST(ExecHandlerTest, ProgramHasItsOwnGroupAndPlainSignals) {
  signal(SIGUSR1, SIG_IGN);
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  // SIGPIPE is ignored here by now, and must not be there.
  const Ran ran = Exec({.argv = {"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"}});
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  signal(SIGUSR1, SIG_DFL);
  EXPECT_EQ(*ran.result, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
  EXPECT_EQ(*Sh("set -- $(cat /proc/$$/stat); test $5 = $$ && test $6 = $$ && echo leader").result,
            "leader\n");
}

TEST(ExecHandlerTest, NoDescriptorLeaks) {
  // Of this process: all, and those that a program has: for follow-on jobs, and what whoever
  // started this meant to be inherited.
  const auto count = [](bool inherited_only) {
    int open = 0;
    for (int fd = 0; fd < 1024; ++fd) {
      const int flags = fcntl(fd, F_GETFD);
      const bool inherited = fd == 3 || (flags >= 0 && (flags & FD_CLOEXEC) == 0);
      open += inherited_only ? inherited : flags >= 0;
    }
    return open;
  };
  Sh("exit 0");
  const int before = count(false);
  for (int i = 0; i < 10; ++i) {
    Sh("exit 0");
    Exec({.argv = {"no-such-command"}});
  }
  EXPECT_EQ(count(false), before);
  const std::string listed = *Exec({.argv = {"ls", "/proc/self/fd"}}).result;  // has one itself
  EXPECT_EQ(std::count(listed.begin(), listed.end(), '\n'), count(true) + 1) << listed;
}

TEST(ExecHandlerTest, BackgroundProcessesEndWithTheProgram) {
  Lifeline lifeline;
  // They hold stdout open, too: nobody waits for them.
  EXPECT_EQ(*Sh("(sleep 1000 & sleep 1000) & sleep 1000 & echo done").result, "done\n");
  lifeline.Release();
  EXPECT_EQ(lifeline.Next(), "");
}

TEST(ExecHandlerTest, NobodyWaitsForAProcessThatEscaped) {
  const std::string path = TempPath("escaped");
  const Ran ran = Sh("setsid sh -c 'echo $$ >" + path + "; exec sleep 1000' & while ! test -s " +
                     path + "; do sleep 0.01; done; cat " + path);
  ASSERT_TRUE(ran.result.ok()) << ran.result.status();
  EXPECT_EQ(kill(std::stoi(*ran.result), SIGKILL), 0);
  std::filesystem::remove(path);
}

// Runs kFamily and ends the job once it is up.
Ran EndFamily(absl::StatusCode code, ExecOptions options) {
  Lifeline lifeline;
  JobContext context({.id = "1-1", .queue = "q"});
  const Handler handler = MakeExecHandlers(std::move(options), nullptr).job;
  auto result = std::async(std::launch::async, [&] { return handler(context, ""); });
  EXPECT_EQ(lifeline.Next(), "up\n");
  context.End(code);
  auto ended = result.get();
  lifeline.Release();
  EXPECT_EQ(lifeline.Next(), "");
  return {std::move(ended), context.worker_failure()};
}

TEST(ExecHandlerTest, TimeoutKillsTheWholeGroup) {
  const Ran ran = EndFamily(absl::StatusCode::kDeadlineExceeded,
                            {.argv = {"sh", "-c", std::string("echo why >&2;") + kFamily}});
  EXPECT_TRUE(absl::IsDeadlineExceeded(ran.result.status()));
  EXPECT_NE(ran.result.status().message().find("; stderr: why"), std::string::npos);
}

TEST(ExecHandlerTest, CancelKillsTheWholeGroup) {
  const Ran ran = EndFamily(absl::StatusCode::kCancelled, {.argv = {"sh", "-c", kFamily}});
  EXPECT_TRUE(absl::IsCancelled(ran.result.status()));
  EXPECT_TRUE(ran.worker_failure.ok());
}

TEST(ExecHandlerTest, GraceLetsAProgramCleanUp) {
  const Ran ran = EndFamily(absl::StatusCode::kCancelled,
                            {.argv = {"sh", "-c",
                                      "trap 'echo cleaned >&2; exit 0' TERM; echo up >&9; wait; "
                                      "while :; do sleep 0.01; done"},
                             .kill_grace = std::chrono::hours(1)});
  EXPECT_TRUE(absl::IsCancelled(ran.result.status()));
  EXPECT_NE(ran.result.status().message().find("cleaned"), std::string::npos)
      << ran.result.status();
}

TEST(ExecHandlerTest, GraceEnds) {
  const Ran ran = EndFamily(absl::StatusCode::kCancelled,
                            {.argv = {"sh", "-c", "trap '' TERM; echo up >&9; sleep 1000"},
                             .kill_grace = milliseconds(20)});
  EXPECT_TRUE(absl::IsCancelled(ran.result.status()));
}

TEST(ExecHandlerTest, EndedJobIsNotStarted) {
  JobContext context({.id = "1-1", .queue = "q"});
  context.End(absl::StatusCode::kCancelled);
  const std::string path = TempPath("started");
  EXPECT_TRUE(absl::IsCancelled(
      MakeExecHandlers({.argv = {"touch", path}}, nullptr).job(context, "").status()));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(ExecHandlerTest, SeveralThreadsAtATime) {
  auto guard = ProcessGuard::Start(2);  // fewer places than threads: the others wait
  ASSERT_TRUE(guard.ok()) << guard.status();
  const Handler handler = MakeExecHandlers({.argv = {"cat"}}, guard->get()).job;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&handler, t] {
      for (int i = 0; i < 25; ++i) {
        JobContext context({.id = "1-1", .queue = "q"});
        const std::string payload = std::to_string(t * 1000 + i);
        EXPECT_EQ(*handler(context, payload), payload);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// ---- The worker's own end -------------------------------------------------------------------

// Runs `body` in a process of its own, as a worker would be.
pid_t Host(const std::function<void()>& body) {
  const pid_t pid = fork();
  if (pid == 0) {
    body();
    _exit(0);
  }
  return pid;
}

void RunForever(const std::vector<std::string>& argv, ProcessGuard* guard) {
  JobContext context({.id = "1-1", .queue = "q"});
  MakeExecHandlers({.argv = argv}, guard).job(context, "").status().IgnoreError();
}

void KillAndReap(pid_t pid) {
  kill(pid, SIGKILL);
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
}

TEST(ProcessGuardTest, KillOfTheWorkerKillsTheWholeGroup) {
  Lifeline lifeline;
  const pid_t host = Host([] {
    auto guard = ProcessGuard::Start(4);
    RunForever({"sh", "-c", kFamily}, guard->get());
  });
  lifeline.Release();
  EXPECT_EQ(lifeline.Next(), "up\n");
  KillAndReap(host);
  EXPECT_EQ(lifeline.Next(), "");
}

TEST(ProcessGuardTest, GroupsOfAllSlotsAreKilled) {
  Lifeline lifeline;
  const pid_t host = Host([] {
    auto guard = ProcessGuard::Start(3);
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] { RunForever({"sh", "-c", kFamily}, guard->get()); });
    }
    for (std::thread& thread : threads) thread.join();
  });
  lifeline.Release();
  std::string up;
  while (up.size() < 9 && up.find('?') == std::string::npos) up += lifeline.Next();
  EXPECT_EQ(up, "up\nup\nup\n");
  KillAndReap(host);
  EXPECT_EQ(lifeline.Next(), "");
}

TEST(ProcessGuardTest, OutlivesTheSignalsOfATerminal) {
  Lifeline lifeline;
  const pid_t host = Host([] {
    auto guard = ProcessGuard::Start(1);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) {
      kill((*guard)->pid(), number);
    }
    RunForever({"sh", "-c", kFamily}, guard->get());
  });
  lifeline.Release();
  EXPECT_EQ(lifeline.Next(), "up\n");
  KillAndReap(host);
  EXPECT_EQ(lifeline.Next(), "");
}

TEST(ProcessGuardTest, KillOfAnUnguardedWorkerKillsTheProgram) {
  Lifeline lifeline;
  const pid_t host = Host([] {
    RunForever({"sh", "-c", "echo up >&9; exec sleep 1000"}, nullptr);
  });
  lifeline.Release();
  EXPECT_EQ(lifeline.Next(), "up\n");
  KillAndReap(host);
  EXPECT_EQ(lifeline.Next(), "");
}

TEST(ProcessGuardTest, LeavesWithTheWorker) {
  pid_t pid;
  {
    auto guard = ProcessGuard::Start(1);
    ASSERT_TRUE(guard.ok()) << guard.status();
    pid = (*guard)->pid();
    EXPECT_EQ(kill(pid, 0), 0);
  }
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(ProcessGuardTest, KeepsNoDescriptorOpen) {
  Lifeline lifeline;
  auto guard = ProcessGuard::Start(1);
  ASSERT_TRUE(guard.ok()) << guard.status();
  lifeline.Release();
  EXPECT_EQ(lifeline.Next(), "");
}

TEST(ProcessGuardTest, HasATitleOfItsOwn) {
  auto guard = ProcessGuard::Start(1);
  ASSERT_TRUE(guard.ok()) << guard.status();
  const std::string path = "/proc/" + std::to_string((*guard)->pid()) + "/cmdline";
  std::string title;
  // As much of it as the test's own command line has room for.
  for (int ms = 0; ms < kPatienceMs && title.rfind("whipp", 0) != 0; ++ms) {
    std::ifstream file(path);
    std::getline(file, title, '\0');
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_EQ(title, std::string("whippletree-guard").substr(0, title.size()));
}

TEST(ProcessGuardTest, AcquireWaitsForAPlace) {
  auto guard = ProcessGuard::Start(1);
  ASSERT_TRUE(guard.ok()) << guard.status();
  auto entry = std::make_unique<ProcessGuard::Entry>((*guard)->Acquire());
  auto second = std::async(std::launch::async, [&] { (*guard)->Acquire(); });
  EXPECT_EQ(second.wait_for(milliseconds(20)), std::future_status::timeout);
  entry.reset();
  second.get();
}

TEST(ProcessGuardTest, ClearedGroupsAreLeftAlone) {
  Lifeline lifeline;
  // A group of its own that was under guard once, and lives on.
  const pid_t stranger = Host([] {
    setpgid(0, 0);
    EXPECT_EQ(write(9, "up", 2), 2);
    pause();
  });
  EXPECT_EQ(lifeline.Next(), "up");
  const pid_t host = Host([stranger] {
    auto guard = ProcessGuard::Start(1);
    ProcessGuard::Entry entry = (*guard)->Acquire();
    entry.Set(stranger);
    entry.Clear();
    EXPECT_EQ(write(9, std::to_string((*guard)->pid()).c_str(), 10) > 0, true);
    pause();
  });
  const pid_t guard = std::stoi(lifeline.Next());
  KillAndReap(host);
  // The guard leaves by itself when it has looked for the last time; nobody here can wait for it.
  for (int ms = 0; ms < kPatienceMs && kill(guard, 0) == 0; ++ms) {
    std::this_thread::sleep_for(milliseconds(1));
    std::ifstream file("/proc/" + std::to_string(guard) + "/stat");
    std::string text;
    std::getline(file, text);
    if (text.find(") Z") != std::string::npos) break;
  }
  EXPECT_EQ(waitpid(stranger, nullptr, WNOHANG), 0);
  KillAndReap(stranger);
}

}  // namespace
}  // namespace whippletree
