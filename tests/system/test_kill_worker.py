"""A worker that is killed with -9 costs nobody a job, and takes its running programs with it."""

import os
import signal
import time

from harness import SLOW, SystemTest, group_members, main, wait_for

LEASE_SECONDS = 3
SQUARE = ["--exec", "sh", "-c", "read n; sleep 0.02; echo $((n*n))"]


class KillWorkerTest(SystemTest):
    def test_all_results_come_back_in_order(self):
        """Of two workers one dies in the middle of 1,000 jobs, holding some of them."""
        broker = self.broker("--lease", f"{LEASE_SECONDS}s")
        workers = {name: self.worker(broker, name, "--queue", "sh", "--slots", "4", *SQUARE)
                   for name in ("first", "second")}
        wait_for(lambda: len(broker.workers()) == 2, "two workers")
        begin = time.monotonic()
        producer = self.producer(broker, "--queue", "sh", "--ordered", jobs=range(1, 1001))

        wait_for(lambda: broker.queue("sh")["completed"] >= 200, "200 outcomes")
        # Which jobs it holds changes all the time: stopped first, it cannot hand in any more.
        for name, worker in workers.items():
            worker.signal(signal.SIGSTOP)
            status = broker.status()
            held = [w["leased"] for w in status["workers"] if w["name"].startswith(name)]
            if held[0] > 0:
                break
            worker.signal(signal.SIGCONT)
        self.assertGreater(held[0], 0, "no worker holds a lease")
        self.assertLessEqual(status["queues"][0]["completed"], 800)
        worker.kill()
        killed = time.monotonic()

        self.assertEqual(producer.wait(), 0)
        end = time.monotonic()
        self.assertEqual(producer.lines(), [str(n * n) for n in range(1, 1001)])
        # What is left takes one worker at most four times as long as the first fifth took two.
        seconds_max = (LEASE_SECONDS + 5) * SLOW + 8 * (killed - begin)
        self.assertLess(end - killed, seconds_max)
        print(f"killed after {killed - begin:.1f} s, all done {end - killed:.1f} s later")
        queue = broker.queue("sh")
        self.assertEqual(queue["completed"], 1000)
        self.assertEqual(queue["accepted"], 1000)
        self.assertIsNotNone(broker.event("leases_expired"))

    def test_running_programs_die_with_it(self):
        """The whole process group of each running job is killed, children in the background too."""
        broker = self.broker("--lease", "1s")
        program = 'echo $$ >"$WHIPPLETREE_JOB_ID.pid"; sleep 1000 & sleep 1000; echo late'
        worker = self.worker(broker, "w", "--queue", "sh", "--slots", "3", "--exec", "sh", "-c",
                             program)
        self.producer(broker, "--queue", "sh", jobs=range(3))

        def groups():
            pids = [path.read_text().strip() for path in self.directory.glob("*.pid")]
            return [int(pid) for pid in pids if pid]

        wait_for(lambda: len(groups()) == 3, "three running programs")
        for group in groups():
            wait_for(lambda group=group: len(group_members(group)) == 3,  # sh and two sleeps
                     "the background process")
            self.assertNotEqual(os.getpgid(worker.pid), group)
        worker.kill()
        for group in groups():
            wait_for(lambda group=group: not group_members(group), "the end of the group")


if __name__ == "__main__":
    main()
