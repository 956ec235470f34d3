"""Rows collected into bulk inserts by sqlite3, which says no more of a bad one than that it failed."""

import contextlib
import sqlite3

import harness

ROWS = 5000
BAD = 1234
# Their key lets a batch be run twice.
STATEMENTS = [f"INSERT INTO rows VALUES({i}, '{'bad' if i == BAD else 'word'}') "
              "ON CONFLICT(id) DO NOTHING;" for i in range(ROWS)]


class BulkInsertTest(harness.SystemTest):
    def test_one_bad_row_is_dead_and_all_others_are_there_once(self):
        path = self.directory / "rows.db"
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("CREATE TABLE rows(id INTEGER PRIMARY KEY, "
                             "word TEXT CHECK(word <> 'bad'))")
            database.commit()
        broker = self.broker("--batch-max-jobs", "50", "--batch-linger", "100ms", "--lease", "2s",
                             "--max-attempts", "3", "--retry-backoff", "10ms..100ms")
        workers = [self.worker(broker, f"w{i}", "--queue", "rows", "--slots", "2", "--exec",
                               "sqlite3", "-bail", "-cmd", ".timeout 60000", "-cmd",
                               "PRAGMA synchronous = OFF", path) for i in range(2)]
        producer = self.producer(broker, "--queue", "rows", "--output", "jsonl", jobs=STATEMENTS)

        def inserted():
            with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
                return database.execute("SELECT count(*) FROM rows").fetchone()[0]

        harness.wait_for(lambda: inserted() > 500, "the first rows")
        workers[0].kill()
        self.assertEqual(producer.wait(), 1)
        self.assertEqual(inserted(), ROWS - 1)
        outcomes = [harness.json.loads(line) for line in producer.lines()]
        dead = [outcome for outcome in outcomes if outcome["outcome"] != "completed"]
        self.assertEqual(len(outcomes), ROWS)
        self.assertEqual(len(dead), 1, dead)
        self.assertIn("CHECK constraint failed", str(dead[0]))
        self.assert_ledger_balances(broker)


if __name__ == "__main__":
    harness.main()
