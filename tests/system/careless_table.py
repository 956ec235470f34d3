"""A table of what each careless peer alone makes of a broker: careless_table.py [OPTIONS] [NAME…]"""

import argparse
import pathlib
import re
import tempfile
import time

import careless
import harness
from raw_peers import MIB


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", default="256MiB")
    parser.add_argument("--durable", action="store_true")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    print(f"{'MiB resident, the most':32} {'after':>7} {'of its account':>15} {'seconds':>8}")
    for kind in careless.ALL:
        if args.names and kind.__name__ not in args.names:
            continue
        with tempfile.TemporaryDirectory() as directory:
            directory = pathlib.Path(directory)
            more = []
            if args.durable:
                config = directory / "config.yaml"
                config.write_text("defaults:\n  durable: true\n")
                more = ["--config", str(config), "--data-dir", str(directory / "data")]
            broker = harness.Broker(directory, "broker", ["--port", "0", "--http-port", "0",
                                                          "--memory-limit", args.limit, *more])
            began = time.monotonic()
            peer = kind(broker)
            peer.run()
            took = time.monotonic() - began
            try:
                account = broker.status()["memory_used_bytes"]
            except Exception as error:  # noqa: BLE001
                account = 0
                peer.note += f" status: {error}"[:100]
            if broker.running():
                text = pathlib.Path(f"/proc/{broker.pid}/status").read_text()
                now = int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) / 1024
                print(f"{kind.__name__:32} {broker.memory_peak_bytes() / MIB:7.0f} {now:7.0f} "
                      f"{account / MIB:8.0f} {took:8.1f}  {peer.error or ''} {peer.note}",
                      flush=True)
            else:
                print(f"{kind.__name__:32} the broker ended: {broker.stderr()[-300:]}")
            peer.close()
            broker.clean_up()


if __name__ == "__main__":
    main()
