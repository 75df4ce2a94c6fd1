"""What the commands that probe a target have in common on their command lines."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from insn import Method
from uprobes import ProbeError
from uprobes.methods import HANDLER_METHODS

DEFAULT_TOP = 20
IN_PROCESS = (Method.JUMP, Method.TRAP)
"""The methods by which code in the process does all the work."""


@dataclass(frozen=True)
class Options:
    """The target, and how long, how and where to report: checked as a whole by `check`."""

    specs: list[str] = field(default_factory=list)
    pid: int | None = None
    command: list[str] | None = None
    json: bool = False
    duration: float | None = None
    output: str | None = None
    follow_forks: bool = False
    method: Method | None = None
    most_hits: int | None = None
    where: str | None = None
    top: int = DEFAULT_TOP
    wait: bool = False
    max_overhead: float | None = None

    def check(self) -> None:
        """Refuse combinations that mean nothing; raises ProbeError with the code `usage`."""
        if (self.pid is None) == (self.command is None):
            raise usage(
                "say which process to probe"
                if self.pid is None
                else "-p and -- CMD exclude each other",
                "-p PID for a running one, or -- CMD ARGUMENT… for a new one",
            )
        if self.command is not None and not self.command:
            raise usage(
                "there is no command after --", "write it with its arguments: -- gzip -k file"
            )
        if self.duration is not None and not self.duration > 0:
            raise usage(f"-d {self.duration:g} is no time", "give a number of seconds above 0")
        if self.method in IN_PROCESS and self.follow_forks:
            raise usage(
                f"--method {self.method} can't follow children into other programs",
                "leave -f away: children that stay in this program are counted with it",
            )
        if self.method in IN_PROCESS and self.max_overhead is not None:
            raise usage(
                f"nobody measures what a hit costs with --method {self.method}",
                "leave --max-overhead away, or the method",
            )
        if self.max_overhead is not None and not 0 < self.max_overhead <= 100:
            raise usage(
                f"--max-overhead {self.max_overhead:g} is no share of the target's time",
                "give a percentage above 0, up to 100",
            )
        if self.most_hits is not None and self.most_hits < 1:
            raise usage(f"-n {self.most_hits} is no number of hits", "give a number above 0")

    def check_handler(self) -> None:
        """Refuse a method that runs no handler, for commands that need one at each hit."""
        if self.method is not None and self.method not in HANDLER_METHODS:
            raise usage(
                f"--method {self.method} runs no handler, and this command needs one at each hit",
                f"use one of {', '.join(HANDLER_METHODS)}",
            )

    @property
    def target(self) -> str:
        """The target as a person would name it."""
        if self.command:
            return shlex.join(self.command)
        return f"process {self.pid}"


def usage(why: str, hint: str) -> ProbeError:
    """Make the error for a command line that can't be obeyed."""
    return ProbeError(why, code="usage", hint=hint)


@contextmanager
def report_file(options: Options) -> Iterator[IO[str]]:
    """Open what the report goes to: FILE, or stdout, or stderr where the command keeps stdout."""
    if options.output is None:
        yield sys.stderr if options.command is not None else sys.stdout
        return
    try:
        file = open(options.output, "w", encoding="utf-8")  # noqa: SIM115  # closed below
    except OSError as error:
        raise usage(
            f"{options.output} can't be written: {error.strerror}", "choose another file for -o"
        ) from None
    with file:
        yield file


def width_of(file: IO[str]) -> int:
    """Return the columns to use: the terminal's, or many where nobody's eyes set a limit."""
    return shutil.get_terminal_size().columns if file.isatty() else 160
