"""The limit of descriptors: the broker keeps below it, and a worker runs no more programs than it allows."""

import json
import os
import select
import socket
import time
import urllib.request

from harness import PATIENCE, SystemTest, descriptors, free_ports, main, wait_for

FLOOD = 300


class DescriptorsTest(SystemTest):
    def flood(self, broker):
        """Connections to the door that say nothing."""
        held = []
        for _ in range(FLOOD):
            held.append(socket.create_connection((broker.host, broker.ports["door"]), PATIENCE))
        self.addCleanup(lambda: [sock.close() for sock in held])
        return held

    def ended(self, held):
        """Those that the broker has ended."""
        poll = select.poll()
        for sock in held:
            poll.register(sock, select.POLLIN | select.POLLRDHUP)
        return len(poll.poll(0))

    def answer(self, producer, feed, job):
        """Submits one job by a producer that runs, and waits for its result."""
        os.write(feed, job + b"\n")
        wait_for(lambda: job.decode() in producer.lines(), f"the result of {job}")

    def test_standard_streams_that_are_closed(self):
        """No socket or file gets their numbers; outcomes that cannot be written are an error."""
        broker = self.broker()
        self.worker(broker, "w", "--queue", "q", "--handler", "echo")
        submit = [self.program("whippletree-producer"), "submit", "-q", "q", "--broker", broker.door]
        producer = self.start("producer", ["sh", "-c", 'echo x | "$@" >&-', "sh", *submit])
        self.assertEqual(producer.wait(), 5)
        self.assertIn("cannot write the outcomes to stdout: Bad file descriptor\n",
                      producer.stderr())
        producer = self.start("producer", ["sh", "-c", '"$@" <&-', "sh", *submit])
        self.assertEqual(producer.wait(), 5)
        self.assertIn("cannot read stdin: Bad file descriptor\n", producer.stderr())
        producer = self.start("producer", ["sh", "-c", 'echo x | "$@" 2>&-', "sh", *submit])
        self.assertEqual(producer.wait(), 0)
        self.assertEqual(producer.lines(), ["x"])

        port = free_ports(3)
        quiet = self.start("broker", ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh",
                                      self.program("whippletree-broker"), "serve", "--port", port,
                                      "--http-port", "0"])
        status = [self.program("whippletree-broker"), "status", "--broker", f"127.0.0.1:{port}",
                  "--connect-timeout", f"{PATIENCE}s"]
        self.assertEqual(self.start("status", status).wait(), 0)
        for fd in range(3):
            self.assertEqual(os.readlink(f"/proc/{quiet.pid}/fd/{fd}"), "/dev/null")

    def test_a_flood_of_connections(self):
        """Who is connected goes on, HTTP answers, nothing spins; after the flood all is as before."""
        broker = self.broker(under=descriptors(128))
        read, feed = os.pipe()
        self.addCleanup(lambda: os.close(feed))
        with os.fdopen(read, "rb") as jobs:
            self.worker(broker, "before", "--queue", "q", "--handler", "echo")
            producer = self.producer(broker, "--queue", "q", stdin=jobs)
        self.answer(producer, feed, b"before")

        held = self.flood(broker)
        refused = wait_for(lambda: broker.event("connection_refused", port=broker.ports["door"]),
                           "a line in the log")
        self.assertEqual(refused["level"], "warn")
        # All that are too many; those that remain are ended when they say nothing for 5 s.
        wait_for(lambda: self.ended(held) >= FLOOD - 128, "ended connections")
        cpu, begin = broker.cpu_seconds(), time.monotonic()
        self.answer(producer, feed, b"during")
        with urllib.request.urlopen(f"http://{broker.http}/healthz", timeout=PATIENCE) as response:
            self.assertEqual(response.read(), b"ok\n")
        wait_for(lambda: self.ended(held) == FLOOD, "the end of the silent ones")
        cpu, wall = broker.cpu_seconds() - cpu, time.monotonic() - begin
        self.assertLess(cpu, 0.5 * wall + 0.2)

        for sock in held:
            sock.close()
        status = broker.status()
        self.assertGreaterEqual(status["counters"]["connections_refused"], FLOOD - 128)
        with urllib.request.urlopen(f"http://{broker.http}/metrics", timeout=PATIENCE) as response:
            self.assertIn(b'whippletree_events_total{event="connections_refused"}',
                          response.read())
        self.worker(broker, "after", "--queue", "late", "--handler", "echo")
        late = self.producer(broker, "--queue", "late", jobs=["after"])
        self.assertEqual((late.wait(), late.lines()), (0, ["after"]))
        self.answer(producer, feed, b"still")
        self.assertEqual(sum(event["event"] == "producer_joined" for event in broker.events()), 2)
        broker.terminate()
        self.assertEqual(broker.wait(), 0)

    def test_too_few_descriptors_to_begin_with(self):
        broker = self.start("broker", [*descriptors(100), self.program("whippletree-broker"),
                                       "serve", "--port", "0", "--http-port", "0"])
        self.assertEqual(broker.wait(), 5)
        self.assertEqual(broker.stderr(), "whippletree-broker: this process may open 100 files and "
                         "connections: raise the limit, ulimit -n, to at least 128\n")

    def run_programs(self, limits, slots, jobs):
        """Programs that are all there at the same time, as far as there are slots."""
        broker = self.broker("--max-attempts", "1")
        worker = self.worker(broker, "w", "--queue", "q", "--slots", str(slots), "--exec", "sh",
                             "-c", "ulimit -S -n; sleep 0.2", under=limits)
        producer = self.producer(broker, "--queue", "q", "--output", "jsonl", jobs=range(jobs))
        self.assertEqual(producer.wait(), 0, producer.stdout()[-1000:])
        outcomes = [json.loads(line) for line in producer.lines()]
        self.assertEqual({outcome["outcome"] for outcome in outcomes}, {"completed"})
        # The worker's own limit is none of the programs' concern.
        self.assertEqual({outcome["result"].strip() for outcome in outcomes}, {"128"})
        return worker

    def test_a_worker_raises_its_limit(self):
        worker = self.run_programs(descriptors(128, 1024), 60, 180)
        self.assertIsNone(worker.event("slots_capped"))

    def test_a_worker_whose_limit_cannot_be_raised_has_fewer_slots(self):
        worker = self.run_programs(descriptors(128), 60, 60)
        capped = worker.event("slots_capped", slots=5, wanted=60)
        self.assertEqual(capped["reason"], "each program takes up to 11 descriptors: raise the hard "
                         "limit, ulimit -Hn")


if __name__ == "__main__":
    main()
