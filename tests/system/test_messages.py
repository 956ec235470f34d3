"""What users are told when something is wrong: the exact words and exit codes of the programs."""

import contextlib
import json
import shlex
import shutil
import socket
import subprocess
import threading

import zmtp
from harness import BIN, PATIENCE, SystemTest, environment, free_ports, main, wait_for

USAGE, UNREACHABLE, REFUSED, MACHINE = 2, 3, 4, 5
HANDLERS = ("crash, echo, fail, flaky, product, replace, second, seventh, sleep, square, sum, total, "
            "upper, words")
QUEUE_NAME = "a queue's name has 1 to 128 of the characters A-Z a-z 0-9 . _ - : /"
VERSION_2 = "protocol version 2 is not supported; whippletree 0.1.0 speaks version 1"


class MessagesTest(SystemTest):
    def check(self, program, arguments, code, expected, stdin=b"", env=None):
        """Runs `whippletree-PROGRAM ARGUMENTS`; `expected` is its last line on stderr."""
        with self.subTest(f"{program} {arguments}"):
            done = subprocess.run([BIN / f"whippletree-{program}", *shlex.split(arguments)],
                                  input=stdin, capture_output=True, timeout=PATIENCE, check=False,
                                  env=environment(env))
            lines = done.stderr.decode().splitlines() or [""]
            self.assertEqual((lines[-1], done.returncode),
                             (f"whippletree-{program}: {expected}", code))
            self.assertEqual(done.stdout, b"")

    def test_wrong_command_lines(self):
        for program, arguments, expected in [
                ("broker", "serve --prt 5", "unknown flag --prt, did you mean --port? "
                 "(see whippletree-broker serve --help)"),
                ("broker", "serve --lease 5", '--lease: "5" has no unit: expected a duration from '
                 "500ms to 24h, as in 500ms, 30s or 5m (see whippletree-broker serve --help)"),
                ("broker", "serve --data-dir=", '--data-dir: expected a value, got "" '
                 "(see whippletree-broker serve --help)"),
                ("broker", "store check /etc/passwd", "/etc/passwd has no store in it: expected "
                 "the --data-dir of a broker"),
                ("broker", "store check /no/such", "/no/such does not exist"),
                ("broker", "", "a command is required: serve, status, ledger, pause, resume, "
                 "queue, dead, jobs, config or store (see whippletree-broker --help)"),
                ("broker", "serve --memory-limit 1MiB", "--memory-limit: expected at least 64MiB "
                 "(see whippletree-broker serve --help)"),
                ("broker", "serve --host 0.0.0.0 --port 0 --http-port 0", "--host 0.0.0.0: anybody "
                 "who reaches this address could submit and take jobs; listen on 127.0.0.1, or add "
                 "--insecure on a private network"),
                ("broker", "dead drop", "say which dead jobs: their ids, or --queue for all of a "
                 "queue"),
                ("broker", "dead drop 1-1 --queue x", "ID cannot be given together with --queue "
                 "(see whippletree-broker dead drop --help)"),
                ("broker", "dead requeue -q x 1-1", "ID cannot be given together with --queue "
                 "(see whippletree-broker dead requeue --help)"),
                ("broker", "dead show 1-1 --queue x", "unknown flag --queue "
                 "(see whippletree-broker dead show --help)"),
                ("broker", "jobs cancel 1-1 --queue x", "unknown flag --queue "
                 "(see whippletree-broker jobs cancel --help)"),
                ("broker", "jobs list 1-1 --queue x", 'unexpected argument "1-1" '
                 "(see whippletree-broker jobs list --help)"),
                ("producer", "submit --queue q --format xml", '--format: "xml" is not known here: '
                 "expected jsonl, lines or nul (see whippletree-producer submit --help)"),
                ("worker", "--queue q --lines sometimes --exec cat", '--lines: "sometimes" is not '
                 "known here: expected fail or retry (see whippletree-worker --help)"),
                ("worker", "--queue q --lines '' --exec cat", '--lines: "" is not known here: '
                 "expected fail or retry (see whippletree-worker --help)"),
                ("worker", "--queue q --env Clean --exec cat", '--env: "Clean" is not known here: '
                 "expected inherit, clean, or clean and the names of variables, as in "
                 "clean,TMPDIR (see whippletree-worker --help)"),
                ("worker", "--queue q --env 'clean, A' --exec cat", '--env: " A" is no name of a '
                 "variable: expected names with commas between and no spaces, as in "
                 "clean,TMPDIR,USER (see whippletree-worker --help)"),
                ("worker", "--queue q --env clean, --exec cat", "--env: the name of a variable is "
                 "empty: expected clean and names, as in clean,TMPDIR (see whippletree-worker "
                 "--help)"),
                ("worker", "--queue q, --handler square", f'--queue: "": {QUEUE_NAME} '
                 "(see whippletree-worker --help)"),
                ("producer", "submit --queue q --max-attempts 1001", '--max-attempts: "1001" is '
                 "not a whole number from 0 to 1000 (see whippletree-producer submit --help)"),
                ("producer", "mapreduce --map-queue m --reduce-queue r --max-attempts 1001 x",
                 '--max-attempts: "1001" is not a whole number from 0 to 1000 (see '
                 "whippletree-producer mapreduce --help)"),
                ("producer", f"submit --queue q --key {'k' * 257}", "--key: a job's key is UTF-8 "
                 "text of at most 256 bytes (see whippletree-producer submit --help)"),
                ("worker", "--queue q --kill-grace 61m --exec cat", "--kill-grace: expected at "
                 "most 1h: the broker waits no longer for a job (see whippletree-worker --help)"),
                ("worker", f"--queue {','.join(f'q{i}' for i in range(1025))} --exec cat",
                 "--queue: 1025 queues: expected at most 1024 (see whippletree-worker --help)"),
                ("producer", "submit", "--queue is required (see whippletree-producer submit "
                 "--help)"),
                ("producer", "submit --queue a+b", f"--queue: \"a+b\": {QUEUE_NAME} "
                 "(see whippletree-producer submit --help)"),
                ("producer", "submit --queue q --ordred", "unknown flag --ordred, did you mean "
                 "--ordered? (see whippletree-producer submit --help)"),
                ("worker", "--queue q --slot 3 --handler square", "unknown flag --slot, did you "
                 "mean --slots? (see whippletree-worker --help)"),
                ("worker", "--handler square", "--queue is required (see whippletree-worker "
                 "--help)"),
                ("worker", "--queue q --handler sqare", "--handler: there is no handler \"sqare\", "
                 f"only {HANDLERS} (see whippletree-worker --help)"),
                ("worker", "--queue q", "what runs the jobs of queue \"q\"? Give --exec COMMAND or "
                 f"--handler NAME ({HANDLERS}) (see whippletree-worker --help)"),
                ("worker", "--queue a+b --handler square", f"--queue: \"a+b\": {QUEUE_NAME} "
                 "(see whippletree-worker --help)")]:
            self.check(program, arguments, USAGE, expected)

    def test_wrong_variables_of_the_environment(self):
        for program, arguments, variable, value, expected in [
                ("broker", "serve", "INSECURE", "maybe", '--insecure: "maybe" is not known here: '
                 "expected true or false (from WHIPPLETREE_INSECURE) (see whippletree-broker serve "
                 "--help)"),
                ("broker", "serve", "ACCEPT_DATA_LOSS", "2", '--accept-data-loss: "2" is not known '
                 "here: expected true or false (from WHIPPLETREE_ACCEPT_DATA_LOSS) (see "
                 "whippletree-broker serve --help)"),
                # What was exported for other commands does not make it mean all of a queue.
                ("broker", "dead drop", "QUEUE", "x", "say which dead jobs: their ids, or --queue "
                 "for all of a queue"),
                ("broker", "dead requeue", "QUEUE", "x", "say which dead jobs: their ids, or "
                 "--queue for all of a queue"),
                ("producer", "submit -q q --no-wait", "ORDERED", "1", "--ordered cannot be given "
                 "together with --no-wait (--ordered is from WHIPPLETREE_ORDERED) (see "
                 "whippletree-producer submit --help)"),
                ("worker", "--queue q --exec cat", "LINES", "some", '--lines: "some" is not known '
                 "here: expected fail or retry (from WHIPPLETREE_LINES) (see whippletree-worker "
                 "--help)"),
                ("worker", "--queue q --exec cat", "NUL", "maybe", '--nul: "maybe" is not known '
                 "here: expected true or false (from WHIPPLETREE_NUL) (see whippletree-worker "
                 "--help)")]:
            self.check(program, arguments, USAGE, expected,
                       env={f"WHIPPLETREE_{variable}": value})

    def test_faults_of_this_machine(self):
        broker = self.broker()
        notes = self.directory / "notes.txt"
        notes.write_text("not a program")
        port, http = broker.ports["door"], broker.http
        for program, arguments, expected in [
                ("broker", f"serve --port {port} --http-port 0", f"cannot listen at 127.0.0.1:{port}"
                 ": Address already in use: stop what uses it, or choose another port with --port "
                 "(0 lets the system choose)"),
                ("broker", f"serve --port 0 --http-port {http.rpartition(':')[2]}",
                 f"cannot serve HTTP on 127.0.0.1 port {http.rpartition(':')[2]}: Address already "
                 "in use: stop what uses it, or choose another port with --http-port (0 lets the system choose)"),
                ("producer", f"submit --queue q --broker {broker.door} /no/such/file",
                 'cannot read "/no/such/file": No such file or directory'),
                ("worker", f"--queue q --broker {broker.door} --exec no-such-program",
                 '--exec: cannot run "no-such-program": command not found; install it on this '
                 "machine or give its full path"),
                ("worker", f"--queue q --broker {broker.door} --exec 'tr a-z A-Z'",
                 '--exec: cannot run "tr a-z A-Z": command not found; give the program and its '
                 "arguments without quotes around them all (--exec tr a-z A-Z), or a command line "
                 "to a shell (--exec sh -c '...')"),
                ("worker", f"--queue q --broker {broker.door} --exec /no/such/program",
                 '--exec: cannot run "/no/such/program": there is no such file, or the interpreter '
                 "that its first line names is missing"),
                ("worker", f"--queue q --broker {broker.door} --exec {notes}",
                 f'--exec: cannot run "{notes}": it is not an executable file; try chmod +x')]:
            self.check(program, arguments, MACHINE, expected)

    def test_a_command_that_is_not_there_fails_its_job_alone(self):
        """127 of the shell that a job runs in says nothing of the worker's other jobs."""
        broker = self.broker("--retry-backoff", "10ms..5m")
        worker = self.worker(broker, "w", "--queue", "q", "--slots", "1", "--exec", "sh")
        producer = self.producer(broker, "--queue", "q", "--ordered", "--max-attempts", "2",
                                 jobs=["gzipp", "echo good"])
        self.assertEqual(producer.wait(), 1)
        self.assertEqual(producer.lines(), ["", "good"])
        self.assertIn("sh ended with exit code 127 (command not found); stderr: sh: 1: gzipp: not "
                      "found", producer.stderr())
        producer = self.producer(broker, "--queue", "q", "--ordered", "--max-attempts", "1",
                                 "--output", "jsonl", jobs=["exit 3", "kill -9 $$"])
        self.assertEqual(producer.wait(), 1)
        self.assertEqual([(o.get("exit_code"), o.get("signal"))
                          for o in map(json.loads, producer.lines())], [(3, None), (None, 9)])
        dead = subprocess.run([BIN / "whippletree-broker", "dead", "list", "--json", "--broker",
                               broker.door], check=True, capture_output=True, env=environment())
        self.assertEqual([(d.get("exit_code"), d.get("signal"))
                          for d in map(json.loads, dead.stdout.splitlines())],
                         [(127, None), (3, None), (None, 9)])
        self.assertTrue(worker.running())

    def test_unreachable_broker(self):
        nobody = f"127.0.0.1:{free_ports(1)}"
        timeout = f"--broker {nobody} --connect-timeout 300ms"
        self.check("broker", f"status {timeout}", UNREACHABLE,
                   f"no broker answers at {nobody}; is it running? (whippletree-broker serve)")
        self.check("producer", f"submit --queue q {timeout}", UNREACHABLE,
                   f"no broker answers at {nobody}; is it running? (whippletree-broker serve)", stdin=b"1\n")
        self.check("worker", f"--queue q --handler square {timeout}", UNREACHABLE,
                   f"no broker answers at {nobody}; is it running? (whippletree-broker serve)")

    def test_what_answers_at_a_wrong_port_is_named(self):
        broker = self.broker()
        door = ("; give the address of the broker's door (7711, or the --port that it was started "
                "with)")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def greet(sock):
                with sock, contextlib.suppress(OSError):
                    sock.sendall(b"220 mail.example ESMTP\r\n")
                    while sock.recv(1000):
                        pass

            def serve():
                with contextlib.suppress(OSError):
                    while True:
                        threading.Thread(target=greet, args=[listener.accept()[0]]).start()

            server = threading.Thread(target=serve, daemon=True)
            server.start()
            data = "that is the broker's submit or complete port"
            for port, what in [(broker.http.rpartition(":")[2], "that is the broker's HTTP port"),
                               (broker.ports["submit"], data), (broker.ports["complete"], data),
                               (listener.getsockname()[1], "what answers there is no broker")]:
                timeout = f"--broker 127.0.0.1:{port} --connect-timeout 4s"
                expected = f"no broker answers at 127.0.0.1:{port}: {what}{door}"
                self.check("broker", f"status {timeout}", UNREACHABLE, expected)
                self.check("producer", f"submit --queue q {timeout}", UNREACHABLE, expected)
                self.check("worker", f"--queue q --handler square {timeout}", UNREACHABLE, expected)
            listener.shutdown(socket.SHUT_RDWR)
        server.join(10)

    def test_a_host_whose_name_does_not_resolve(self):
        """RFC 6761: `invalid` never does. How that is told differs where there is no DNS."""
        broker = ["--broker", "nosuchhost.invalid", "--connect-timeout", "3s"]
        why = (r"no broker answers at nosuchhost\.invalid:7711: the name nosuchhost\.invalid does not "
               r"resolve \(.+\)")
        for program, arguments in [("broker", ["status"]), ("producer", ["submit", "-q", "q"]),
                                   ("worker", ["--queue", "q", "--handler", "echo"])]:
            with self.subTest(program):
                done = subprocess.run([BIN / f"whippletree-{program}", *arguments, *broker],
                                      input=b"", capture_output=True, timeout=PATIENCE, check=False,
                                      env=environment())
                lines = done.stderr.decode().splitlines()
                self.assertRegex(lines[-1], f"^whippletree-{program}: {why}; is it spelt right\\?$")
                self.assertEqual(done.returncode, UNREACHABLE)
                if program != "broker":
                    self.assertRegex(lines[-2], f"{why}; trying again")

    def test_a_queue_that_no_worker_serves(self):
        """A typo, or a worker that nobody started: it is said, and again when that changes."""
        broker = self.broker()
        for queue in ("mail", "sh"):
            self.worker(broker, queue, "--queue", queue, "--handler", "echo")
        wait_for(lambda: len(broker.workers()) == 2, "two workers")
        producer = self.producer(broker, "--queue", "maill", "--progress", "always", jobs=["x"])
        start = "whippletree-producer: "
        wait_for(lambda: f"{start}no worker serves queue maill; queues with workers: mail, sh\n"
                 in producer.stderr(), "the warning")
        wait_for(lambda: "[no worker serves the queue]" in producer.stderr(), "the progress line")
        subprocess.run([BIN / "whippletree-broker", "pause", "maill", "--broker", broker.door],
                       check=True, capture_output=True, env=environment())
        self.worker(broker, "late", "--queue", "maill", "--handler", "echo")
        wait_for(lambda: f"{start}queue maill is paused (whippletree-broker resume maill lets it go "
                 "on)\n" in producer.stderr(), "what it is by now")
        subprocess.run([BIN / "whippletree-broker", "resume", "maill", "--broker", broker.door],
                       check=True, capture_output=True, env=environment())
        self.assertEqual(producer.wait(), 0)
        self.assertEqual(producer.lines(), ["x"])

    def test_a_broker_that_has_no_room(self):
        """What it says to each hello is told once, and in the end, with another exit code."""
        full = b"the broker is full; try again later"
        refusal = zmtp.message((1, 1), (12, zmtp.message((1, zmtp.message((1, 8), (2, full))))))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def serve():
                while True:
                    try:
                        sock, _ = listener.accept()
                    except OSError:
                        return
                    with zmtp.Connection(sock, "ROUTER") as peer, contextlib.suppress(OSError):
                        while True:
                            peer.receive()
                            peer.send(refusal)

            server = threading.Thread(target=serve, daemon=True)
            server.start()
            address = f"127.0.0.1:{listener.getsockname()[1]} --connect-timeout 3s"
            for program, arguments in [("producer", "submit -q q"),
                                       ("worker", "--queue q --handler echo")]:
                done = subprocess.run([BIN / f"whippletree-{program}", *arguments.split(), "--broker",
                                       *address.split()], input=b"", capture_output=True,
                                      timeout=PATIENCE, check=False, env=environment())
                with self.subTest(program):
                    text = done.stderr.decode()
                    self.assertEqual((text.splitlines()[-1], done.returncode),
                                     (f"whippletree-{program}: {full.decode()}", REFUSED))
                    self.assertEqual(text.count("the broker refused a message: "), 1, text)
                    self.assertNotIn("no broker answers", text)
            listener.shutdown(socket.SHUT_RDWR)
        server.join(10)

    def test_a_retry_after_that_does_not_count_as_it_stands(self):
        broker = self.broker("--retry-backoff", "10ms..20ms")
        worker = self.worker(broker, "w", "--queue", "q", "--exec", "sh")
        producer = self.producer(broker, "--queue", "q", "--max-attempts", "1",
                                 jobs=["echo retry-after: 2 >&2; exit 75"])
        self.assertEqual(producer.wait(), 1)
        wait_for(lambda: worker.event("program_said", level="warn", queue="q",
                                      warning='retry-after: "2" is not a duration: expected a number '
                                      "and a unit, as in 500ms, 2s or 5m; the line is ignored"),
                 "the warning")
        producer = self.producer(broker, "--queue", "q", "--max-attempts", "1",
                                 jobs=["echo retry-after: 1000h >&2; exit 75"])
        self.assertEqual(producer.wait(), 1)
        wait_for(lambda: worker.event("program_said", warning='retry-after: "1000h" is longer than a '
                                      "queue is held: 1h is taken for it"), "the other warning")
        held = broker.event("queue_held", queue="q")
        self.assertEqual(held["for_ms"], 3_600_000)

    def test_a_data_directory_that_is_deleted(self):
        """The broker stops, and says of what it had confirmed only what is true."""
        data = self.directory / "data"
        broker = self.broker("--data-dir", data)
        shutil.rmtree(data)
        producer = self.producer(broker, "--queue", "q", "--no-wait", "--connect-timeout", "1s",
                                 jobs=["x"])
        self.assertEqual(broker.wait(), MACHINE)
        producer.terminate()
        producer.wait()
        last = broker.stderr().splitlines()[-1]
        self.assertIn("the store of durable queues does not work any more: ", last)
        self.assertTrue(last.endswith(
            f". The directory {data} was deleted. What was confirmed may be lost with it: put the "
            "directory back as it was and start the broker again, or start it with an empty one"),
            last)
        self.assertNotIn("Nothing was confirmed", last)

    def test_input_that_is_no_job(self):
        """It is named with its line and the limit; every other job goes on. Empty lines are jobs."""
        broker = self.broker("--payload-max", "1KiB")
        self.worker(broker, "w", "--queue", "q", "--handler", "echo")
        producer = self.producer(broker, "--queue", "q", "--ordered",
                                 jobs=["one", "", "x" * 1025, "y" * 1024, ""])
        self.assertEqual(producer.wait(), 1)
        self.assertEqual(producer.lines(), ["one", "", "", "y" * 1024, ""])
        self.assertIn("whippletree-producer: line 3: the payload has 1025 bytes, the broker takes "
                      "at most 1024: split it, or pass a reference to the data instead\n",
                      producer.stderr())
        self.assertIn("4 completed; 1 bad input", producer.stderr().splitlines()[-1])

    def test_result_that_is_too_large(self):
        """The job is dead, and the reason names the limit."""
        broker = self.broker("--payload-max", "1KiB")
        self.worker(broker, "w", "--queue", "q", "--exec", "head", "-c", "2000", "/dev/zero")
        producer = self.producer(broker, "--queue", "q", jobs=["x"])
        self.assertEqual(producer.wait(), 1)
        self.assertRegex(producer.stderr(), r"job 1 \(1-1\) dead after 1 attempt on \S+: "
                         r"OUT_OF_RANGE: result of 2000 bytes; at most 1024 are taken\n")

    def test_broker_of_another_version(self):
        """Whatever it answers is in its own version; every program says so and gives up."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def serve():
                while True:
                    try:
                        sock, _ = listener.accept()
                    except OSError:
                        return
                    with zmtp.Connection(sock, "ROUTER") as peer:
                        peer.receive()
                        peer.send(zmtp.message((1, 2), (11, b"")))
                        try:
                            peer.receive()  # until it goes
                        except OSError:
                            pass

            server = threading.Thread(target=serve, daemon=True)
            server.start()
            address = f"--broker 127.0.0.1:{listener.getsockname()[1]}"
            self.check("broker", f"status {address}", REFUSED, VERSION_2)
            self.check("producer", f"submit --queue q {address}", REFUSED, VERSION_2, stdin=b"1\n")
            self.check("worker", f"--queue q --handler square {address}", REFUSED, VERSION_2)
            listener.shutdown(socket.SHUT_RDWR)
        server.join(10)

    def test_client_of_another_version(self):
        """The broker says which version it speaks, and that trying again cannot help."""
        broker = self.broker()
        with zmtp.Connection.connect(broker.host, broker.ports["door"], "DEALER") as client:
            client.send(zmtp.message((1, 2), (3, b"")))
            envelope = zmtp.parse(client.receive()[0])
        self.assertEqual(envelope[1], 1)
        refusal = zmtp.parse(envelope[12])
        status = zmtp.parse(refusal[1])
        self.assertEqual((status[1], status[2].decode()), (9, VERSION_2))  # FAILED_PRECONDITION
        self.assertEqual(refusal[2], 2)  # GIVE_UP
        wait_for(lambda: broker.event("rejected_frame", error=VERSION_2), "the line in the log")


if __name__ == "__main__":
    main()
