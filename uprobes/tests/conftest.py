"""Victims of the tests of names and of the command: compiled once, started on demand."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

VICTIMS = Path(__file__).parent / "victims"
PATIENCE = 60
"""Seconds after which something is taken to hang. Never a figure that a test asserts."""


class Waiting:
    """A victim that has said what it has to say and waits for a line on stdin."""

    def __init__(self, argv, **options):
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, **options
        )
        self.pid = self.process.pid
        self.addresses = {}
        while True:
            line = self.process.stdout.readline()
            assert line, f"{argv} ended before it was ready"
            if line.strip() == "ready":
                break
            name, address = line.split()
            self.addresses[name] = int(address, 16)

    def go(self):
        """Send the line that it waits for: it calls its functions a hundred times."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self):
        """Close its input and return its exit code."""
        self.process.stdin.close()
        return self.process.wait(PATIENCE)

    def end(self):
        """Kill it if it still runs."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


@pytest.fixture(scope="session")
def compiled(tmp_path_factory, needs):
    """Compile victims once: `compiled("names", "-no-pie")` gives the program's path."""
    directory = tmp_path_factory.mktemp("compiled")
    made = {}

    def compile_(name, *flags):
        if (name, flags) not in made:
            sources = [VICTIMS / f"{name}{end}" for end in (".c", ".cpp", "_too.c")]
            sources = [source for source in sources if source.exists()]
            plus = any(source.suffix == ".cpp" for source in sources)
            compiler = needs("g++", package="g++") if plus else needs("gcc", package="gcc")
            program = directory / str(len(made)) / name
            program.parent.mkdir()
            subprocess.run([compiler, "-O1", *flags, "-o", program, *sources], check=True)
            made[name, flags] = program
        return made[name, flags]

    return compile_


@pytest.fixture
def waiting():
    """Start victims, and end them after the test."""
    started = []

    def start(*argv, **options):
        started.append(Waiting([str(word) for word in argv], **options))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.fixture
def uprobes_command():
    """Run the command: `uprobes_command("count", …)` gives the finished process."""

    def run(*arguments, **options):
        return subprocess.run(
            [sys.executable, "-m", "uprobes", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={**os.environ, "COLUMNS": "160"},
            **options,
        )

    return run
