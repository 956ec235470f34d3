"""A data directory that is older than what was confirmed, as after a backup was put back."""

import shutil

from harness import SystemTest, free_ports, main, wait_for


class LostCommitsTest(SystemTest):

    def broker_on(self, port, *args):
        """On fixed ports, which the one after it can have again. None: they are taken by now."""
        try:
            return self.broker("--data-dir", self.directory / "data", "--lease", "2s", *args,
                               port=port)
        except AssertionError as error:
            if "is not ready" in str(error) and "in use" in str(error):
                return None
            raise

    def broker_again(self, port, *args):
        return wait_for(lambda: self.broker_on(port, *args), "the ports of the broker before")

    def open_producer(self, broker):
        """A named producer that is given jobs by lines of the file `input`."""
        (self.directory / "input").touch()
        program = f'tail -n +1 -f input | "$0" submit --name p --queue q --broker {broker.door}'
        return self.start("open", ["sh", "-c", program, self.program("whippletree-producer")])

    def submit(self, line):
        with open(self.directory / "input", "a") as file:
            file.write(f"{line}\n")

    def start_with_an_old_copy(self):
        """A broker, its port, and a producer that was told of more than there is in "old"."""
        while True:
            port = free_ports(3)
            if broker := self.broker_on(port):
                break
        producer = self.open_producer(broker)
        self.submit("first")
        wait_for(lambda: broker.queue("q")["accepted"] == 1, "the first job")
        broker.kill()
        shutil.copytree(self.directory / "data", self.directory / "old")
        broker = self.broker_again(port)
        self.submit("second")
        self.submit("third")
        wait_for(lambda: broker.queue("q")["accepted"] == 3, "more jobs")
        # Its result was stored after all of them, and it has arrived.
        worker = self.worker(broker, "w", "--queue", "q", "--exec", "cat")
        wait_for(lambda: len(producer.lines()) == 3, "the outcomes")
        worker.terminate()
        self.assertEqual(worker.wait(), 0)
        return port, broker, producer

    def put_back_the_old_copy(self):
        (self.directory / "data").rename(self.directory / "new")
        (self.directory / "old").rename(self.directory / "data")

    def test_a_producer_that_knew_more_stops_the_broker(self):
        """It says why and what to do; with the newest copy everything goes on."""
        port, broker, producer = self.start_with_an_old_copy()
        broker.kill()
        self.put_back_the_old_copy()
        broker = self.broker_again(port)
        self.assertEqual(broker.wait(), 5)
        self.assertRegex(broker.stderr(), r"data is older than what was confirmed: producer p was told "
                         r"of commit \d+, and the store has none after \d+: .*--accept-data-loss")
        # Unless the broker is told to go on, it is the same each time.
        self.assertEqual(self.broker_again(port).wait(), 5)

        shutil.rmtree(self.directory / "data")
        (self.directory / "new").rename(self.directory / "data")
        broker = self.broker_again(port)
        self.submit("fourth")
        wait_for(lambda: broker.queue("q")["accepted"] == 4, "the job after")
        self.worker(broker, "w", "--queue", "q", "--exec", "cat")
        wait_for(lambda: sorted(producer.lines()) == ["first", "fourth", "second", "third"],
                 "its outcome")

    def test_the_loss_is_accepted(self):
        """The broker goes on, and needs the flag for one start only."""
        port, broker, producer = self.start_with_an_old_copy()
        broker.kill()
        self.put_back_the_old_copy()
        broker = self.broker_again(port, "--accept-data-loss")
        wait_for(lambda: broker.event("commits_lost", accepted=True), "the log to name the gap")
        wait_for(lambda: broker.event("producer_joined"), "the producer")
        producer.clean_up()
        broker.kill()
        broker = self.broker_again(port)
        # Others have never heard of what is lost.
        later = self.producer(broker, "--queue", "q", "--no-wait", jobs=["later"])
        self.assertEqual(later.wait(), 0)

    def test_without_a_peer_that_knows_nothing_is_found(self):
        """What is in the old copy is there, and new peers are served."""
        port, broker, producer = self.start_with_an_old_copy()
        producer.clean_up()
        broker.kill()
        self.put_back_the_old_copy()
        broker = self.broker_again(port)
        self.assertEqual(broker.queue("q")["accepted"], 1)
        self.worker(broker, "w", "--queue", "q", "--exec", "cat")
        later = self.producer(broker, "--queue", "q", jobs=["later"])
        self.assertEqual(later.wait(), 0)
        self.assertEqual(later.lines(), ["later"])

    def test_the_flag_needs_a_data_directory(self):
        """Without one nothing was ever confirmed that is kept."""
        broker = self.start("broker", [self.program("whippletree-broker"), "serve",
                                       "--accept-data-loss"])
        self.assertEqual(broker.wait(), 2)
        self.assertIn("add --data-dir DIR", broker.stderr())


if __name__ == "__main__":
    main()
