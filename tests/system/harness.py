"""Real processes for the system tests: started on free ports, waited for by condition, ended always.

The programs are those in $WHIPPLETREE_BIN (by default build/release/bin of this clone). Every test has
a directory of its own; what the processes print goes to files there and is shown if the test fails.
Nothing here sleeps for a fixed time in the hope that something has happened meanwhile.
"""

import collections
import ctypes
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("WHIPPLETREE_BIN", ROOT / "build/release/bin"))
# Sanitized programs are slower and larger.
SANITIZED = os.environ.get("WHIPPLETREE_SANITIZE", "") != ""
SLOW = 5 if SANITIZED else 1
# For conditions that come true at once on an idle machine.
PATIENCE = 60 * SLOW

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_the_test():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def environment(extra=None):
    """That of the test without options of the programs, and `extra`."""
    return {k: v for k, v in os.environ.items() if not k.startswith("WHIPPLETREE_")} | (extra or {})


def wait_for(condition, what, seconds=PATIENCE):
    """Returns condition()'s first true value; fails if there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.02)


def descriptors(soft, hard=None):
    """Runs the command that follows with so many descriptors at most; to be put before it."""
    # The soft one first: it may not be above the hard one.
    limits = f"ulimit -S -n {soft} && ulimit -H -n {hard or soft}"
    return ["sh", "-c", f'{limits} && exec "$@"', "sh"]


def free_ports(count):
    """The first of `count` ports in a row that are free now; not among those the system hands out."""
    while True:
        first = random.randrange(20000, 32000)
        try:
            for port in range(first, first + count):
                with socket.socket() as s:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    s.bind(("127.0.0.1", port))
            return first
        except OSError:
            pass


def group_members(group):
    """Living processes of a process group (zombies do not count)."""
    members = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            members.append(int(stat.parent.name))
    return members


class Process:
    """A running program; its output is in files."""

    def __init__(self, directory, name, argv, stdin=None, env=None, pass_fds=()):
        self.name = name
        self.out = directory / f"{name}.out"
        self.err = directory / f"{name}.err"
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                argv, stdin=stdin if stdin is not None else subprocess.DEVNULL, stdout=out,
                stderr=err, env=environment(env), cwd=directory, start_new_session=True,
                pass_fds=pass_fds, preexec_fn=_die_with_the_test)
        self.pid = self.process.pid

    def stdout(self):
        return self.out.read_text()

    def lines(self):
        return self.stdout().splitlines()

    def stderr(self):
        return self.err.read_text(errors="replace")

    def events(self):
        """The lines of a log in JSON."""
        # The last one may not be whole yet.
        return [json.loads(line) for line in self.stderr().split("\n")[:-1]]

    def event(self, name, **fields):
        """The first event of this name with these fields, or None."""
        for event in self.events():
            if event["event"] == name and fields.items() <= event.items():
                return event
        return None

    def running(self):
        return self.process.poll() is None

    def wait(self, seconds=PATIENCE):
        """The exit code. Fails if it goes on for too long."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {seconds} s") from None

    def signal(self, number):
        self.process.send_signal(number)

    def terminate(self):
        self.process.terminate()

    def kill(self):
        """kill -9, as a crash."""
        self.process.kill()
        self.process.wait()

    def cpu_seconds(self):
        """The processor time that it has used."""
        stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def memory_peak_bytes(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024

    def clean_up(self):
        """Ends it with all its children, whatever state it is in."""
        for number in (signal.SIGCONT, signal.SIGKILL):
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass
        self.process.wait()


class Broker(Process):
    """A broker that is ready."""

    def __init__(self, directory, name, args, env=None, patience=PATIENCE, under=()):
        super().__init__(directory, name, [*under, BIN / "whippletree-broker", "serve",
                                           "--log-format", "json", *args], env=env)
        try:
            wait_for(lambda: "\n" in self.stdout() or not self.running(), f"a line of {name}",
                     patience)
            match = re.fullmatch(r"ready door=(\S+) submit=(\d+) complete=(\d+) http=(\S+)\n",
                                 self.stdout())
            if not match:
                raise AssertionError(f"{name} is not ready: {self.stdout()!r} {self.stderr()!r}")
        except BaseException:
            self.clean_up()
            raise
        self.door, self.http = match[1], match[4]
        self.host, _, port = self.door.rpartition(":")
        self.ports = {"door": int(port), "submit": int(match[2]), "complete": int(match[3])}

    def status(self):
        """What `whippletree-broker status --json` says."""
        done = subprocess.run(
            [BIN / "whippletree-broker", "status", "--json", "--broker", self.door,
             "--connect-timeout", f"{PATIENCE}s"],
            capture_output=True, timeout=2 * PATIENCE, check=False, env=environment())
        if done.returncode != 0:
            raise AssertionError(f"status: exit {done.returncode}: {done.stderr.decode()}")
        return json.loads(done.stdout)

    def queue(self, name):
        """Numbers of one queue; all 0 if the broker does not know it yet."""
        for queue in self.status()["queues"]:
            if queue["name"] == name:
                return queue
        return collections.defaultdict(int)

    def workers(self):
        """The workers in status by name as given, without what the programs append to it."""
        return {worker["name"].rpartition("-")[0]: worker for worker in self.status()["workers"]}

    def counter(self, name):
        return self.status()["counters"].get(name, 0)


class SystemTest(unittest.TestCase):
    """A test that starts processes with the methods below."""

    maxDiff = 2000

    def run(self, result=None):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="whippletree-test-"))
        self.processes = []
        result = result if result is not None else self.defaultTestResult()
        before = len(result.failures) + len(result.errors)
        try:
            super().run(result)
        finally:
            for process in reversed(self.processes):
                process.clean_up()
            if len(result.failures) + len(result.errors) > before:
                self._show_output()
            shutil.rmtree(self.directory, ignore_errors=True)
        return result

    def _show_output(self):
        for process in self.processes:
            print(f"\n--- {process.name}: exit code {process.process.returncode}", file=sys.stderr)
            for text in (process.out, process.err):
                tail = text.read_bytes()[-3000:].decode(errors="replace")
                if tail:
                    print(f"--- {text.name} ends with\n{tail}", file=sys.stderr)
        sys.stderr.flush()

    def _add(self, make):
        process = make(f"{len(self.processes):02}")
        self.processes.append(process)
        return process

    @staticmethod
    def program(name):
        return str(BIN / name)

    def start(self, name, argv, **options):
        """Any program, given by its arguments."""
        argv = [str(arg) for arg in argv]
        return self._add(lambda n: Process(self.directory, f"{n}-{name}", argv, **options))

    def broker(self, *args, port=0, env=None, under=()):
        args = ["--port", str(port), "--http-port", "0", *map(str, args)]
        return self._add(lambda n: Broker(self.directory, f"{n}-broker", args, env, under=under))

    def worker(self, broker, name, *args, env=None, under=()):
        return self.start(f"worker-{name}", [*under, self.program("whippletree-worker"), "--broker",
                                             broker.door, "--name", name, "--log-format", "json",
                                             *args], env=env)

    def producer(self, broker, *args, jobs=None, stdin=None, env=None):
        """`jobs`: lines to submit. Else `stdin`: an open file."""
        if jobs is not None:
            path = self.directory / f"jobs-{len(self.processes)}"
            path.write_bytes(b"".join(str(job).encode() + b"\n" for job in jobs))
            stdin = open(path, "rb")
        try:
            return self.start("producer", [self.program("whippletree-producer"), "submit",
                                           "--broker", broker.door, *args], stdin=stdin, env=env)
        finally:
            if jobs is not None:
                stdin.close()

    def assert_ledger_balances(self, broker):
        """accepted = waiting + leased + completed + dead + cancelled + expired, in every queue."""
        for queue in broker.status()["queues"]:
            parts = ("waiting", "leased", "completed", "dead", "cancelled", "expired")
            self.assertEqual(queue["accepted"], sum(queue[part] for part in parts), queue)


def main():
    unittest.main(verbosity=2)
