"""A disk that gets full, on a small file system of the test's own: what is refused, what still ends,
and that everything goes on by itself when there is room."""

import json
import os
import subprocess
import sys
import urllib.request

from harness import SystemTest, environment, free_ports, main, wait_for

SKIPPED = 77  # for ctest
MOUNTS = "WHIPPLETREE_TEST_MOUNTS"
DISK_BYTES = 64 << 20


def become_one_that_may_mount():
    """Runs this test in a mount namespace, which takes its file systems away with it."""
    if MOUNTS in os.environ:
        return
    users = [] if os.geteuid() == 0 else ["--map-root-user"]
    unshare = ["unshare", *users, "--mount"]
    tried = subprocess.run([*unshare, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False,
                           capture_output=True, text=True)
    if tried.returncode != 0:
        print(f"SKIP: no file system can be mounted here: {tried.stderr.strip()}")
        sys.exit(SKIPPED)
    os.execvpe(unshare[0], [*unshare, sys.executable, "-B", *sys.argv], os.environ | {MOUNTS: "1"})


class DiskTest(SystemTest):
    def mount(self):
        self.disk = self.directory / "disk"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", self.disk],
                       check=True)
        # It is busy until the processes are gone.
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.disk], check=True)

    def fill(self):
        """Others take everything but a little."""
        disk = os.statvfs(self.disk)
        with open(self.disk / "others", "wb") as others:
            os.posix_fallocate(others.fileno(), 0, disk.f_bavail * disk.f_frsize - (256 << 10))

    def start_broker(self, port=None):
        """On fixed ports, which the one after it can have again."""
        config = self.directory / "broker.yaml"
        config.write_text("queues: {fleeting: {durable: false}}\n")
        args = ["--data-dir", self.disk / "data", "--config", config]
        while port is None:
            port = free_ports(3)
            try:
                return port, self.broker(*args, port=port)
            except AssertionError as error:
                if "another port" not in str(error):
                    raise
                port = None
        def again():
            try:
                return self.broker(*args, port=port)
            except AssertionError as error:
                if "another port" not in str(error):
                    raise
                return None
        return port, wait_for(again, "the ports of the killed broker")

    def metrics(self, broker):
        with urllib.request.urlopen(f"http://{broker.http}/metrics") as answer:
            return answer.read().decode()

    def wait_for_disk(self, broker, state):
        wait_for(lambda: broker.status()["disk"] == state, f"a disk that is {state}")
        wait_for(lambda: broker.event("disk", state=state), "its line in the log")

    def others_fill_the_disk(self, restart):
        self.mount()
        port, broker = self.start_broker()
        self.assertEqual(broker.status()["disk"], "ok")
        ballast = self.disk / "data" / "BALLAST"
        self.assertGreater(ballast.stat().st_blocks * 512, DISK_BYTES // 20)
        program = 'read n; : >"started-$n"; until [ -e go ]; do sleep 0.05; done; printf %s $((n*n))'
        self.worker(broker, "w", "--queue", "kept", "--slots", "2", "--exec", "sh", "-c", program)
        first = self.producer(broker, "--queue", "kept", "--output", "jsonl", jobs=range(1, 7))
        wait_for(lambda: len(list(self.directory.glob("started-*"))) == 2, "running jobs")

        self.fill()
        self.wait_for_disk(broker, "full")
        wait_for(lambda: not ballast.exists(), "the end of the ballast")
        second = self.producer(broker, "--queue", "kept", "--no-wait", jobs=range(7, 10))
        wait_for(lambda: "the disk of the broker's data directory is full" in second.stderr(),
                 "the reason")
        self.assertIn("takes no jobs", second.stderr())
        queue = broker.queue("kept")
        self.assertTrue(queue["full_by_disk"])
        self.assertEqual((queue["accepted"], queue["leased"], queue["gate"]), (6, 2, "disk full"))
        self.assertIn("\nwhippletree_disk_low 1\n", self.metrics(broker))
        self.assertIn("\nwhippletree_disk_full 1\n", self.metrics(broker))
        text = subprocess.run([self.program("whippletree-broker"), "status", "--broker",
                               broker.door], capture_output=True, check=True, text=True,
                              env=environment()).stdout
        self.assertIn("DISK FULL", text)
        self.assertRegex(text, "(?m)^kept .*  disk full$")

        # Queues in memory go on.
        self.worker(broker, "m", "--queue", "fleeting", "--handler", "square")
        third = self.producer(broker, "--queue", "fleeting", "--ordered", jobs=range(1000))
        self.assertEqual(third.wait(), 0)
        self.assertEqual(third.lines(), [str(n * n) for n in range(1000)])

        # What runs ends, and is told.
        (self.directory / "go").touch()
        wait_for(lambda: broker.queue("kept")["completed"] == 2, "the ends of running jobs")
        wait_for(lambda: len(first.lines()) == 2, "their outcomes")
        if restart:
            broker.kill()
            _, broker = self.start_broker(port)
            self.wait_for_disk(broker, "full")
            wait_for(lambda: "w" in broker.workers(), "the worker")
        queue = broker.queue("kept")
        self.assertEqual((queue["completed"], queue["leased"], queue["waiting"]), (2, 0, 4))
        self.assertEqual(queue["gate"], "disk full")
        self.assert_ledger_balances(broker)
        self.assertTrue(first.running() and second.running())

        (self.disk / "others").unlink()
        self.wait_for_disk(broker, "ok")
        self.assertEqual(first.wait(), 0)
        self.assertEqual(second.wait(), 0)
        outcomes = sorted((o["number"], o["result"]) for o in map(json.loads, first.lines()))
        self.assertEqual(outcomes, [(n, str(n * n)) for n in range(1, 7)])
        wait_for(lambda: broker.queue("kept")["completed"] == 9, "all to be done")
        self.assert_ledger_balances(broker)
        wait_for(ballast.exists, "a new ballast")
        self.assertIn("\nwhippletree_disk_low 0\n", self.metrics(broker))
        broker.terminate()
        self.assertEqual(broker.wait(), 0)
        checked = subprocess.run([self.program("whippletree-broker"), "store", "check",
                                  str(self.disk / "data")], capture_output=True, check=False,
                                 text=True, env=environment())
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_others_fill_the_disk(self):
        """No job is accepted or dispatched, completions are recorded, and it ends by itself."""
        self.others_fill_the_disk(restart=False)

    def test_a_broker_that_is_killed_meanwhile(self):
        """The same, and the broker starts again on the full disk."""
        self.others_fill_the_disk(restart=True)

    def test_a_backlog_that_fills_the_disk_is_worked_off(self):
        """Twice what fits: producers wait, jobs run, and their space is given back."""
        self.mount()
        _, broker = self.start_broker()
        path = self.directory / "input"
        line = "x" * 49_990
        jobs = 2 * DISK_BYTES // 50_000
        path.write_text("".join(f"{i:08} {line}\n" for i in range(jobs)))
        producer = self.producer(broker, "--queue", "kept", "--no-wait", str(path))
        wait_for(lambda: broker.queue("kept")["full_by_disk"], "a full disk")
        queue = broker.queue("kept")
        self.assertGreater(queue["waiting_bytes"], DISK_BYTES // 3)
        self.assertTrue(producer.running())
        self.worker(broker, "w", "--queue", "kept", "--handler", "echo")
        self.assertEqual(producer.wait(), 0)
        wait_for(lambda: broker.queue("kept")["completed"] == jobs, "all to be done")
        self.assertTrue(broker.running())
        self.assert_ledger_balances(broker)
        self.wait_for_disk(broker, "ok")

    def test_a_broker_that_finds_no_room_to_start(self):
        """It says so, with what to do; and a reserve that cannot be."""
        self.mount()
        with open(self.disk / "others", "wb") as others:
            disk = os.statvfs(self.disk)
            os.posix_fallocate(others.fileno(), 0, disk.f_bavail * disk.f_frsize)

        def refused(*args):
            done = subprocess.run([self.program("whippletree-broker"), "serve", "--port", "0",
                                   "--http-port", "0", *args], capture_output=True, text=True,
                                  check=False, env=environment(), timeout=60)
            self.assertNotEqual(done.returncode, 0)
            return done.stderr

        data = str(self.disk / "data")
        self.assertIn("make room on its file system", refused("--data-dir", data))
        self.assertIn("choose a smaller --disk-reserve",
                      refused("--data-dir", data, "--disk-reserve", "1GiB"))
        self.assertIn("add --data-dir DIR", refused("--disk-reserve", "1GiB"))


if __name__ == "__main__":
    become_one_that_may_mount()
    main()
