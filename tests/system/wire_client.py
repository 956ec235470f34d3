"""The client in plain Python, on messages that protoc has just made from the protocol."""

import subprocess
import sys
import tempfile

import harness

_generated = tempfile.TemporaryDirectory(prefix="whippletree-test-")
subprocess.run(["/usr/bin/protoc", f"--proto_path={harness.ROOT / 'protos'}",
                f"--python_out={_generated.name}", "status.proto", "wire.proto"], check=True)
sys.path[:0] = [_generated.name, str(harness.ROOT / "tests/system/python_client")]

import whippletree_client as client  # noqa: E402, F401  (it imports what protoc has just written)
