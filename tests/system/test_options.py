"""docs/operations.md has each option that --help tells of, where it tells of that command."""

import functools
import re
import subprocess

from harness import BIN, PATIENCE, ROOT, SystemTest, environment, main

EVERYWHERE = {"--help", "--version"}


@functools.cache
def manual(program, *rest):
    """What `whippletree-PROGRAM REST --help` prints."""
    return subprocess.run([BIN / f"whippletree-{program}", *rest, "--help"], capture_output=True,
                          text=True, timeout=PATIENCE, check=True, env=environment()).stdout


def commands(command):
    """`command`, or those below it: lists of words."""
    found = re.search(r"^Commands:\n((?:  .*\n)+)", manual(*command), re.M)
    if not found:
        return [command]
    names = re.findall(r"^  (\w+)", found[1], re.M)
    return [each for name in names for each in commands([*command, name])]


def options(command):
    """The long names of its options."""
    return set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", manual(*command), re.M)) - EVERYWHERE


def section(title):
    """That of docs/operations.md."""
    text = (ROOT / "docs/operations.md").read_text()
    return re.search(rf"^## {title}\n(.*?)^## ", text, re.M | re.S)[1]


def told_of(command):
    """What the docs say of its options."""
    blocks = re.split(r"^(?=`whippletree-)", section("Flags"), flags=re.M)[1:]
    program, *rest = command
    name = rf"`(?:whippletree-{program} )?{rest[0]}\b" if rest else f"`whippletree-{program}`"
    text = "".join(block for block in blocks if re.search(name, block))
    if "#dead-jobs-and-single-jobs" in text:
        text += section("Dead jobs and single jobs")
    if rest[:1] == ["config"]:  # it says that it takes some of these
        text += told_of([program, "serve"])
    return text


class OptionsTest(SystemTest):
    def test_the_docs_have_them_all(self):
        count = 0
        for program in ("broker", "worker", "producer"):
            for command in commands([program]):
                there = set(re.findall(r"--[a-z-]+", told_of(command)))
                with self.subTest(" ".join(command)):
                    self.assertEqual(options(command) - there, set())
                count += len(options(command))
        self.assertGreater(count, 100)


if __name__ == "__main__":
    main()
