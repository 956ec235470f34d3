"""README.md, word by word: every line behind `$`, in one shell, prints what stands below it.

Only the ports are others, by the environment.
"""

import os
import re
import socket

from harness import BIN, PATIENCE, ROOT, SystemTest, free_ports, main

# Commands whose output has times, sizes and the names of processes.
VARYING = ("whippletree-broker status", "demo all", "submit --queue square --ordered")
MARK = "@@@@"


def blocks():
    """The texts between ``` lines, without their indentation."""
    found = re.findall(r"^( *)```\w*\n(.*?)^ *```$", (ROOT / "README.md").read_text(), re.M | re.S)
    return [re.sub(f"^{indent}", "", text, flags=re.M) for indent, text in found]


def transcript():
    """Pairs of a command and the lines that it prints."""
    pairs = []
    for block in blocks():
        if not block.startswith("$ "):
            continue
        in_command = False
        for line in block.splitlines():
            if line.startswith("$ "):
                pairs.append((line[2:], []))
            elif in_command:
                pairs[-1] = (pairs[-1][0] + "\n" + line, [])
            else:
                pairs[-1][1].append(line)
            in_command = (line.startswith("$ ") or in_command) and line.endswith(("|", "\\"))
    return pairs


def normal(lines):
    """Without what differs from run to run."""
    text = "\n".join(lines).replace(socket.gethostname(), "alpha")
    text = re.sub(r"-[0-9a-f]{8}\b", "-ID", text)
    text = re.sub(r"[0-9][0-9.]*", "N", text)
    text = re.sub(r"N (B|[KMG]iB)\b", "SIZE", text)
    text = re.sub(r"N (us|ms|s)\b", "TIME", text)
    # What goes to stderr may come before or after the rest.
    return sorted(" ".join(line.split()) for line in text.splitlines())


class ReadmeTest(SystemTest):
    def test_every_command_prints_what_it_says(self):
        port = free_ports(4)
        (self.directory / "demo").symlink_to(ROOT / "demo")
        for block in blocks():
            if block.startswith("queues:\n  mail:"):
                (self.directory / "queues.yaml").write_text(block)
        pairs = transcript()
        self.assertGreater(len(pairs), 20)
        script = "exec 2>&1\n" + "".join(f"code=$?; echo {MARK}; (exit $code)\n{command}\n"
                                         for command, _ in pairs)
        shell = self.start("shell", ["bash", "-c", script], env={
            "PATH": f"{BIN}:{os.environ['PATH']}", "WHIPPLETREE_PORT": str(port),
            "WHIPPLETREE_HTTP_PORT": str(port + 3), "WHIPPLETREE_BROKER": f"127.0.0.1:{port}"})
        self.assertEqual(shell.wait(2 * PATIENCE), 0)
        printed = shell.stdout().replace(f"127.0.0.1:{port}", "127.0.0.1:7711").split(f"{MARK}\n")
        for (command, expected), output in zip(pairs, printed[1:], strict=True):
            # The shell's own word on what was killed.
            lines = [line.expandtabs() for line in output.splitlines() if " Killed " not in line]
            with self.subTest(command):
                if any(part in command for part in VARYING):
                    expected, lines = normal(expected), normal(lines)
                self.assertEqual(lines, expected)


if __name__ == "__main__":
    main()
