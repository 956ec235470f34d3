"""Long answers to admins come in parts; who asks and does not read fills nothing."""

import json
import subprocess

import zmtp
from harness import SANITIZED, SystemTest, main, wait_for

MEMORY_LIMIT_BYTES = 128 << 20
QUEUES = 4096  # the most that one producer has
RESOURCE_EXHAUSTED = 8


def name_of(i):
    return b"%05d" % i + b"q" * 100


class RepliesTest(SystemTest):
    def setUp(self):
        self.made = self.broker("--memory-limit", f"{MEMORY_LIMIT_BYTES}")

    def connect(self):
        return zmtp.Connection.connect(self.made.host, self.made.ports["door"], "DEALER")

    def open_queues(self, client):
        """They exist as soon as a producer claims them."""
        claims = [(8, zmtp.message((1, name_of(i)))) for i in range(QUEUES)]
        client.send(zmtp.message((1, 1), (3, zmtp.message((1, 1), (2, b"p"), (4, 1), *claims))))
        client.receive()

    def ask(self, client, number, *fields):
        client.send(zmtp.message((1, 1), (7, zmtp.message((1, number), (2, b""), *fields))))

    def test_a_status_of_many_queues(self):
        with self.connect() as client:
            self.open_queues(client)
            status = json.loads(self.command("status", "--json"))
            self.assertEqual([queue["name"].encode() for queue in status["queues"]],
                             [name_of(i) for i in range(QUEUES)])
            self.assertNotIn("next", status)
            self.assertIn(name_of(QUEUES - 1).decode(), self.command("ledger"))
            # All of it was read.
            self.assertEqual(self.made.counter("unanswered_requests"), 0)

    def test_who_does_not_read_is_not_answered(self):
        with self.connect() as client, self.connect() as other:
            self.open_queues(client)
            before = self.made.memory_peak_bytes()
            for number in range(20_000):
                self.ask(other, number)
            wait_for(lambda: self.made.counter("unanswered_requests") == 19_999, "all to be read")
            if not SANITIZED:
                self.assertLess(self.made.memory_peak_bytes() - before, 24 << 20)
            first, refused = (zmtp.parse(zmtp.parse(other.receive()[0])[19]) for _ in range(2))
            self.assertIn(3, first)
            self.assertEqual(zmtp.parse(refused[2])[1], RESOURCE_EXHAUSTED)
            # Who says what it has read is answered; the number is eight bytes.
            read = zmtp.fixed64(20, first[20])
            other.send(zmtp.message((1, 1), (7, zmtp.message((1, 7), (2, b"")) + read)))
            self.assertIn(3, zmtp.parse(zmtp.parse(other.receive()[0])[19]))

    def command(self, *args):
        return subprocess.run([self.program("whippletree-broker"), *args, "--broker", self.made.door],
                              check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
