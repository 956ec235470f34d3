"""The broker's configuration file: checked, shown, loaded again by SIGHUP; and a queue paused by hand."""

import json
import os
import signal
import socket
import subprocess
import threading

import zmtp
from harness import BIN, PATIENCE, SLOW, SystemTest, environment, main, wait_for

GOOD = """\
queues:
  api:
    rate: 500/s
    burst: 5
    retry: {max_attempts: 2, backoff: 1ms..10ms}
  mail: {batch: {max_jobs: 4, linger: 2s}, lease: 30s}
defaults: {retry: {max_attempts: 3, backoff: 1ms..10ms}}
"""
BAD = """\
queues:
  api:
    rate: "50"
    leese: 5s
"""
BAD_ERRORS = [
    'b.yaml:3:11: queues.api.rate: "50" has no unit: expected a whole number per s, min or h, as in '
    '50/s, 300/min or "2 batches/s", or none',
    'b.yaml:4:5: queues.api: there is no setting "leese", did you mean lease? There are capacity, '
    "batch, rate, burst, concurrency, keys, lease, timeout, retry, breaker, durable, job_names, dead"]
PROGRAM = "whippletree-broker: "


class ConfigTest(SystemTest):
    def run_broker(self, *arguments, env=None):
        """Exit code, stdout and the lines of stderr of `whippletree-broker ARGUMENTS`."""
        done = subprocess.run([BIN / "whippletree-broker", *map(str, arguments)],
                              capture_output=True, timeout=PATIENCE, check=False,
                              cwd=self.directory, env=environment(env))
        return done.returncode, done.stdout.decode(), done.stderr.decode().splitlines()

    def write(self, text, name="b.yaml"):
        path = self.directory / name
        path.write_text(text)
        return path

    def test_check(self):
        self.write(GOOD)
        self.assertEqual(self.run_broker("config", "check", "b.yaml"),
                         (0, "b.yaml: ok, 2 queues\n", []))
        self.write(BAD)
        self.assertEqual(self.run_broker("config", "check", "b.yaml"),
                         (2, "", [PROGRAM + error for error in BAD_ERRORS]))
        self.assertEqual(self.run_broker("config", "check", "none.yaml"),
                         (5, "", [PROGRAM + 'cannot read "none.yaml": No such file or directory']))
        self.assertEqual(self.run_broker("config"),
                         (2, "", [PROGRAM + "a command is required: check, show or running "
                                  "(see whippletree-broker config --help)"]))

    def test_check_warns_of_durable_queues_without_a_directory(self):
        warning = "durable: true needs a broker that is started with --data-dir"
        self.write("queues: {mail: {durable: true}, sh: {}}\n")
        self.assertEqual(self.run_broker("config", "check", "b.yaml"),
                         (0, "b.yaml: ok, 2 queues, 1 warning\n",
                          [f"{PROGRAM}b.yaml: warning: queues.mail: {warning}"]))
        self.write("queues: {mail: {}}\ndefaults: {durable: true}\n")
        self.assertEqual(self.run_broker("config", "check", "b.yaml"),
                         (0, "b.yaml: ok, 1 queue, 1 warning\n",
                          [f"{PROGRAM}b.yaml: warning: defaults: {warning}"]))

    def test_what_a_reload_does_not_change_is_said(self):
        """A queue stays durable until it is dropped; log, `config running` and status say so."""
        path = self.write("queues: {mail: {durable: true}}\n")
        broker = self.broker("--config", path, "--data-dir", self.directory / "data")
        producer = self.producer(broker, "--queue", "mail", "--no-wait", jobs=["x"])
        self.assertEqual(producer.wait(), 0)
        self.write("queues: {mail: {durable: false}}\n")
        broker.signal(signal.SIGHUP)
        wait_for(lambda: broker.event("durable_kept", level="warn", queue="mail", durable=True),
                 "the line in the log")
        self.assertTrue(broker.queue("mail")["durable_kept"])
        status = self.run_broker("status", "--broker", broker.door)[1]
        self.assertIn("Queue mail is durable, and stays so until it is dropped (whippletree-broker "
                      "queue drop): the configuration says durable: false\n", status)
        running = self.run_broker("config", "running", "--broker", broker.door)[1]
        self.assertIn("# not in force: queue mail is durable: true until it is dropped "
                      "(whippletree-broker queue drop)\n", running)
        self.write("queues: {mail: {durable: true}}\n")
        broker.signal(signal.SIGHUP)
        wait_for(lambda: not broker.queue("mail")["durable_kept"], "the policy that it has")
        self.assertNotIn("# not", self.run_broker("config", "running", "--broker", broker.door)[1])

    def test_a_file_that_may_not_be_read(self):
        path = self.write(GOOD)
        path.chmod(0)
        options = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
        done = subprocess.run([BIN / "whippletree-broker", "config", "check", path],
                              capture_output=True, timeout=PATIENCE, check=False, text=True,
                              env=environment(), **options)
        self.assertEqual((done.stderr, done.returncode),
                         (f'{PROGRAM}cannot read "{path}": Permission denied: give the user that '
                          "runs this the right to it (chmod, chown), also to its directories\n", 5))

    def test_check_warns_of_settings_that_defeat_each_other(self):
        in_mail, in_defaults = (
            "batches have at most 3 jobs: the rate counts jobs and its burst is 3; raise burst or "
            "count batches",
            "keys.concurrency has no effect: with keys.order jobs of a key run one at a time")
        self.write("queues: {mail: {batch: {max_jobs: 4}, rate: 9/s, burst: 3, keys: none}}\n"
                   "defaults: {keys: {order: true, concurrency: 2}}\n")
        self.assertEqual(self.run_broker("config", "check", "b.yaml"),
                         (0, "b.yaml: ok, 1 queue, 2 warnings\n",
                          [PROGRAM + "b.yaml: warning: defaults: " + in_defaults,
                           PROGRAM + "b.yaml: warning: queues.mail: " + in_mail]))
        broker = self.broker("--config", self.directory / "b.yaml")
        for queue, warning in (("*", in_defaults), ("mail", in_mail)):
            wait_for(lambda q=queue, w=warning: broker.event("config_warning", queue=q, warning=w),
                     f"the warning of {queue}")
        self.write("queues: {other: {batch: {max_jobs: 1, linger: 2s}}}")
        broker.signal(signal.SIGHUP)
        wait_for(lambda: broker.event("config_warning", queue="other"), "the new warning")
        wait_for(lambda: broker.event("config_reloaded"), "the new configuration")

    def test_running_shows_what_is_in_force(self):
        """The flags and the file at first, and then what was loaded by SIGHUP."""
        self.write(GOOD + "unknown_queues: refuse\n")
        flags = ("--lease", "7s", "--queue-bytes", "3MiB")
        broker = self.broker("--config", self.directory / "b.yaml", *flags)

        def running():
            return self.run_broker("config", "running", "--broker", broker.door)

        def shown():
            return self.run_broker("config", "show", "--config", "b.yaml", *flags)

        before = running()
        self.assertEqual(before, shown())
        self.assertIn("unknown_queues: refuse\n", before[1])
        self.write(GOOD.replace("burst: 5", "keys: {order: true}"))
        self.assertEqual(running(), before)
        broker.signal(signal.SIGHUP)
        wait_for(lambda: broker.event("config_reloaded", changes=3), "the new configuration")
        after = running()
        self.assertEqual(after, shown())
        self.assertIn("    keys: {order: true, concurrency: none, rate: none, burst: 1}\n",
                      after[1])
        self.write(BAD)
        broker.signal(signal.SIGHUP)
        wait_for(lambda: broker.event("config_rejected"), "the bad file")
        self.assertEqual(running(), after)

    def test_show_is_a_file_that_says_the_same(self):
        self.write(GOOD)
        flags = ("--lease", "7s", "--queue-bytes", "3MiB")
        code, shown, errors = self.run_broker("config", "show", "--config", "b.yaml", *flags)
        self.assertEqual((code, errors), (0, []))
        for line in ("  mail:", "    batch: {max_jobs: 4, max_bytes: 1MiB, linger: 2s}",
                     "    lease: 30s", "    rate: 500/s", "  lease: 7s",
                     "  capacity: {jobs: 1000000, bytes: 3MiB}", "unknown_queues: accept"):
            self.assertIn(line + "\n", shown)
        self.write(shown, "shown.yaml")
        self.assertEqual(self.run_broker("config", "check", "shown.yaml"),
                         (0, "shown.yaml: ok, 2 queues\n", []))
        self.assertEqual(self.run_broker("config", "show", env={"WHIPPLETREE_CONFIG": "shown.yaml"}),
                         (0, shown, []))

    def test_flags_and_variables_say_the_defaults(self):
        """Before those of the file, and not before what it says of a queue."""
        self.write("queues: {a: {rate: 7/s}}\ndefaults: {rate: 1/h, timeout: 1m}")
        code, shown, errors = self.run_broker(
            "config", "show", "--config", "b.yaml", "--rate", "2 batches/s", "--burst", "3",
            "--batch-max-jobs", "9", "--batch-linger", "2s", "--retry-backoff", "1s...10s",
            env={"WHIPPLETREE_CONCURRENCY": "8", "WHIPPLETREE_BREAKER_FAILURES": "4",
                 "WHIPPLETREE_TIMEOUT": "none"})
        self.assertEqual((code, errors), (0, []))
        a, defaults = shown.split("defaults:")
        for text in (a, defaults):
            for setting in ("batch: {max_jobs: 9, max_bytes: 1MiB, linger: 2s}", "burst: 3",
                            "concurrency: 8", "timeout: none", "backoff: 1s..10s", "failures: 4"):
                self.assertIn(setting, text)
        self.assertIn("    rate: 7/s\n", a)
        self.assertIn("  rate: 2 batches/s\n", defaults)
        self.assertEqual(self.run_broker("config", "show", "--rate", "0/s"),
                         (2, "", [PROGRAM + '--rate: "0/s" would start nothing (whippletree-broker '
                                  "pause stops a queue): expected a whole number per s, min or h, "
                                  'as in 50/s, 300/min or "2 batches/s", or none (see '
                                  "whippletree-broker config show --help)"]))

    def test_a_refused_queue(self):
        """Its producer is told why; its worker too, and serves it once the file names it."""
        self.write("queues: {known: {}}\nunknown_queues: refuse\n")
        broker = self.broker("--config", self.directory / "b.yaml", "--lease", "500ms")
        worker = self.worker(broker, "w", "--queue", "known", "--queue", "late", "--handler", "echo")
        why = 'there is no queue "late" in the broker\'s configuration (unknown_queues: refuse)'
        wait_for(lambda: worker.event("connection", message=f"no jobs of queue late: {why}; they are "
                                      "taken as soon as the broker allows it"), "the worker's line")
        self.assertTrue(broker.event("queue_refused", error=why))

        producer = self.producer(broker, "--queue", "late", "--output", "jsonl", jobs=["a", "b"])
        self.assertEqual(producer.wait(), 1, producer.stderr())
        outcomes = [json.loads(line) for line in producer.lines()]
        self.assertEqual([(o["outcome"], o["status"], o["error"]) for o in outcomes],
                         2 * [("rejected", "NOT_FOUND", why)])
        for more in ("--name=nightly", "--group"):
            producer = self.producer(broker, "--queue", "late", more, jobs=["a"])
            self.assertEqual(producer.wait(), 4 if "name" in more else 1, producer.stderr())
            self.assertIn(why, producer.stderr())

        self.write("queues: {known: {}, late: {}}\nunknown_queues: refuse\n")
        broker.signal(signal.SIGHUP)
        wait_for(lambda: worker.event("connection", message="jobs of queue late are taken now"),
                 "the worker's word")
        producer = self.producer(broker, "--queue", "late", jobs=["a"])
        self.assertEqual((producer.wait(), producer.lines()), (0, ["a"]))
        self.assertIsNone(worker.event("connection", message="connection lost; trying again"))

    def test_what_is_built_in(self):
        code, shown, errors = self.run_broker("config", "show", "--memory-limit", "64MiB")
        self.assertEqual((code, errors), (0, []))
        self.assertTrue(shown.startswith("defaults:\n  capacity: {jobs: 1000000, bytes: 8MiB}\n"))

    def test_serve_refuses_a_bad_file(self):
        path = self.write(BAD)
        for arguments, env in ((("--config", "b.yaml"), None), ((), {"WHIPPLETREE_CONFIG": "b.yaml"})):
            self.assertEqual(
                self.run_broker("serve", "--port", 0, "--http-port", 0, *arguments, env=env),
                (2, "", [PROGRAM + error for error in BAD_ERRORS]))
        path.unlink()
        self.assertEqual(self.run_broker("serve", "--config", "b.yaml")[0], 5)

    def attempts(self, broker, queue):
        """How often a job that fails is started there."""
        before = broker.queue(queue)["retries"]
        producer = self.producer(broker, "--queue", queue, jobs=["x"])
        self.assertEqual(producer.wait(), 1)
        return broker.queue(queue)["retries"] - before + 1

    def test_reload(self):
        """SIGHUP: what differs is logged and holds; a bad file changes nothing."""
        path = self.write(GOOD)
        broker = self.broker("--config", path, "--queue-capacity", "1000")
        started = broker.event("broker_started", config=str(path), queues_named=2)
        self.assertEqual(started["queue_capacity"], 1000)
        self.worker(broker, "w", "--queue", "api", "--queue", "other", "--handler", "fail")
        self.assertEqual(self.attempts(broker, "api"), 2)
        self.assertEqual(self.attempts(broker, "other"), 3)

        self.write(GOOD.replace("max_attempts: 2", "max_attempts: 4").replace("500/s", "30000/min"))
        broker.signal(signal.SIGHUP)
        wait_for(lambda: broker.event("config_reloaded", file=str(path), queues=2, changes=2),
                 "the new configuration")
        self.assertTrue(broker.event("config_changed", queue="api", setting="retry.max_attempts",
                                     **{"from": "2", "to": "4"}))
        self.assertTrue(broker.event("config_changed", queue="api", setting="rate",
                                     **{"from": "500/s", "to": "30000/min"}))
        self.assertEqual(self.attempts(broker, "api"), 4)

        self.write(BAD)
        broker.signal(signal.SIGHUP)
        for error in BAD_ERRORS:
            error = error.replace("b.yaml", str(path), 1)
            wait_for(lambda error=error: broker.event("config_rejected", file=str(path),
                                                      error=error), error)
        self.write("")
        broker.signal(signal.SIGHUP)
        wait_for(lambda: broker.event("config_rejected", error=f"{path}: it is empty: expected "
                                      "queues, defaults or unknown_queues (or `queues: {}`, to set "
                                      "nothing)"), "the empty file")
        self.write("queues:\n")
        broker.signal(signal.SIGHUP)
        wait_for(lambda: broker.event("config_rejected", error=f"{path}:1:1: queues: nothing is "
                                      "below it: expected names of queues and their settings (or "
                                      "`queues: {}`, to set nothing)"), "the file that was cut")
        path.unlink()
        broker.signal(signal.SIGHUP)
        wait_for(lambda: broker.event("config_rejected", error=f'cannot read "{path}": '
                                      "No such file or directory"), "the missing file")
        self.assertEqual(self.attempts(broker, "api"), 4)

        # Compared with what is in force, not with what was rejected.
        self.write(GOOD.replace("max_attempts: 3", "max_attempts: 1").replace("500/s", "30000/min")
                   .replace("max_attempts: 2", "max_attempts: 4"))
        broker.signal(signal.SIGHUP)
        wait_for(lambda: broker.event("config_changed", queue="*", setting="retry.max_attempts",
                                      **{"from": "3", "to": "1"}), "changed defaults")
        wait_for(lambda: broker.event("config_reloaded", changes=2), "the last configuration")
        self.assertEqual(self.attempts(broker, "other"), 1)
        self.assertEqual(self.attempts(broker, "api"), 4)
        broker.terminate()
        self.assertEqual(broker.wait(), 0)

    def test_what_is_no_configuration(self):
        """Whatever the file is: a line, and the broker goes on with what it had, in its memory."""
        path = self.write(GOOD)
        broker = self.broker("--config", path)
        before = broker.memory_peak_bytes()

        def refused(error):
            self.assertEqual(self.run_broker("config", "check", path)[1:],
                             ("", [f"whippletree-broker: {error}"]))
            broker.signal(signal.SIGHUP)
            wait_for(lambda: broker.event("config_rejected", error=error), error)
            self.assertEqual(broker.queue("api")["accepted"], 0)

        for content, error in [
                (b"\x2c\x00\xf1\x00\x00\x75", ":1:2: not text: a control character"),
                (b"\xff\xfe{\n", ":1:1: not text: this line is not UTF-8"),
                (b"[" * 1_000_000, ":1:51: nested too deeply: expected at most 50 levels"),
                (b"[" + b"a," * 500_000,
                 ":1:1: not YAML: a [ is not closed: expected , or ]")]:
            path.write_bytes(content)
            refused(f"{path}{error}")
        self.assertLess(broker.memory_peak_bytes() - before, SLOW * (300 << 20))
        os.truncate(path, 1 << 40)
        refused(f'cannot read "{path}": it has more than 1MiB')
        path.unlink()
        refused(f'cannot read "{path}": No such file or directory')
        os.mkfifo(path)
        refused(f'cannot read "{path}": it is not a regular file')
        path.unlink()
        path.mkdir()
        refused(f'cannot read "{path}": Is a directory')
        path.rmdir()
        path.symlink_to("/dev/zero")
        refused(f'cannot read "{path}": it is not a regular file')
        path.unlink()
        path.symlink_to(path)
        refused(f'cannot read "{path}": Too many levels of symbolic links')
        path.unlink()

        self.write(GOOD.replace("max_attempts: 2", "max_attempts: 4"))
        broker.signal(signal.SIGHUP)
        wait_for(lambda: broker.event("config_reloaded", changes=1), "the good file")
        broker.terminate()
        self.assertEqual(broker.wait(), 0)

    def test_nothing_to_reload(self):
        broker = self.broker()
        broker.signal(signal.SIGHUP)
        wait_for(lambda: broker.event("config_rejected", error="nothing to reload: the broker was "
                                      "started without --config"), "the line in the log")
        self.assertEqual(broker.status()["queues"], [])

    def test_pause_and_resume_say_what_they_did(self):
        """Against a door that answers as it is told to."""
        def reply(*fields):
            return zmtp.message((1, 1), (19, zmtp.message((1, 1), *fields)))

        changed, unchanged = (4, zmtp.message((1, 1))), (4, b"")
        not_found = (2, zmtp.message((1, 5), (2, b'there is no queue "q"')))
        for arguments, answer, expected in [
                ("pause", reply(changed), (0, "queue q is paused\n", [])),
                ("pause", reply(unchanged), (0, "queue q was paused already\n", [])),
                ("resume", reply(changed), (0, "queue q is resumed\n", [])),
                ("resume", reply(unchanged), (0, "queue q was not paused\n", [])),
                ("pause", reply(not_found), (4, "", [PROGRAM + 'there is no queue "q"'])),
                ("pause", reply(), (4, "", [PROGRAM + "the broker does not know this request; it "
                                            "is of another release than this program"]))]:
            with self.subTest(f"{arguments} {expected}"), \
                    socket.create_server(("127.0.0.1", 0)) as listener:
                requests = []

                def serve():
                    sock, _ = listener.accept()
                    with zmtp.Connection(sock, "ROUTER") as peer:
                        requests.append(peer.receive()[0])
                        peer.send(answer)
                        try:
                            peer.receive()  # until it goes
                        except OSError:
                            pass

                server = threading.Thread(target=serve, daemon=True)
                server.start()
                self.assertEqual(
                    self.run_broker(arguments, "q", "--broker",
                                    f"127.0.0.1:{listener.getsockname()[1]}"), expected)
                server.join(PATIENCE)
                request = zmtp.parse(zmtp.parse(zmtp.parse(requests[0])[7])[3])
                self.assertEqual(request, {1: b"q"} | ({2: 1} if arguments == "pause" else {}))

    def test_pause_needs_the_name_of_a_queue(self):
        self.assertEqual(self.run_broker("pause"),
                         (2, "", [PROGRAM + "QUEUE is required (see whippletree-broker pause "
                                  "--help)"]))
        self.assertEqual(self.run_broker("resume", "a+b"),
                         (2, "", [PROGRAM + 'QUEUE: "a+b": a queue\'s name has 1 to 128 of the '
                                  "characters A-Z a-z 0-9 . _ - : /"]))


if __name__ == "__main__":
    main()
