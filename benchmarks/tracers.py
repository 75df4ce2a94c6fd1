"""The tools that are compared.

Each puts a breakpoint on one function and reads its first argument at every hit.
"""

import importlib.util
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from benchmarks.victims import PROGRAMS, Ended, Missing, Victim, build

FIRST_LENGTHS = {
    "begins_lea": 4,
    "begins_push": 1,
    "begins_nop5": 5,
    "begins_endbr": 4,
    "begins_rip": 7,
    "begins_call": 5,
    "begins_jcc": 2,
}
"""The bytes of the instruction that each of the victim's functions begins with."""


@dataclass(frozen=True)
class Tool:
    """One way of tracing.

    `command(victim, function)` gives the arguments, `check` raises Missing.
    """

    name: str
    command: Callable[[Victim, str], Sequence[str]]
    check: Callable[[], None] = lambda: None
    stop: int = signal.SIGTERM
    environment: Callable[[Victim, str], dict[str, str]] = field(
        default=lambda _victim, _function: {}
    )


def limit(way: str) -> Tool:
    """The C loop."""
    return Tool(
        f"C loop, {way}",
        lambda victim, function: [
            str(build("one_stop")),
            str(victim.pid),
            str(victim.address(function)),
            str(FIRST_LENGTHS[function]),
            way,
        ],
    )


def ours(method: str, crowd: int = 0) -> Tool:
    """This toolkit with one method, and with `crowd` further probes that are not hit."""
    others = f", {crowd:,} others armed" if crowd else ""
    return Tool(
        f"uprobes, {method}{others}",
        lambda victim, function: [
            sys.executable,
            str(PROGRAMS / "ours.py"),
            str(victim.pid),
            method,
            str(victim.address(function)),
            *map(str, victim.members(crowd)),
        ],
    )


def _has_libdebug() -> None:
    if importlib.util.find_spec("libdebug") is None:
        raise Missing(
            "libdebug is not installed: `pip install libdebug`, or the dependency group `bench`"
        )


def _has_gdb() -> None:
    if shutil.which("gdb") is None:
        raise Missing("gdb is not installed: install the package gdb")
    answer = subprocess.run(
        ["gdb", "-nx", "-q", "-batch", "-ex", "python print(6*7)"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "42" not in answer.stdout:
        raise Missing("this gdb has no Python: install the package gdb, not gdb-minimal")


LIBDEBUG = Tool(
    "libdebug",
    lambda victim, function: [
        sys.executable,
        str(PROGRAMS / "libdebug_tracer.py"),
        str(victim.pid),
        str(victim.address(function)),
    ],
    check=_has_libdebug,
)
GDB = Tool(
    "gdb",
    lambda _victim, _function: [
        "gdb",
        "-nx",
        "-q",
        "-batch",
        "-x",
        str(PROGRAMS / "gdb_tracer.py"),
    ],
    check=_has_gdb,
    stop=signal.SIGINT,
    environment=lambda victim, function: {
        "BENCHMARK_PID": str(victim.pid),
        "BENCHMARK_ADDRESS": str(victim.address(function)),
    },
)


class Tracing:
    """A tool at work on a victim; `close` ends it and gives the number of hits it saw."""

    def __init__(
        self, tool: Tool, victim: Victim, function: str, cpus: Collection[int] | None = None
    ) -> None:
        tool.check()
        self.tool = tool
        self.hits: int | None = None
        self.process = subprocess.Popen(
            tool.command(victim, function),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **tool.environment(victim, function)},
            preexec_fn=None if cpus is None else lambda: os.sched_setaffinity(0, cpus),
        )
        self._wait_until_ready()

    def _wait_until_ready(self, patience: float = 60.0) -> None:
        heard = b""
        deadline = time.monotonic() + patience
        stream = self.process.stdout
        while b"ready" not in heard:
            part = b""
            if select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
                part = os.read(stream.fileno(), 1 << 16)
            if not part:
                self.process.kill()
                said = (heard + self.process.communicate()[1]).decode(errors="replace").strip()
                raise Missing(
                    f"{self.tool.name} did not begin: {(said.splitlines() or ['no reason'])[-1]}"
                )
            heard += part

    def close(self) -> int:
        """End the tool and return how many hits it counted; raises Ended when it cannot say."""
        self.process.send_signal(self.tool.stop)
        try:
            said, wrong = self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            said, wrong = self.process.communicate()
        for line in said.decode().splitlines():
            if line.startswith("hits "):
                self.hits = int(line.split()[1])
                return self.hits
        raise Ended(
            f"{self.tool.name} did not say its hits: {wrong.decode(errors='replace')[-300:]}"
        )
