"""The programs under probes: built when needed, started, and asked to call their functions."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from elftools.elf.elffile import ELFFile

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
BUILT = HERE / ".build"
CROWD = 10_000
"""How many functions the program with the crowd has."""
FLAGS = ("-O2", "-g", "-fcf-protection=none", "-rdynamic", "-pthread")
PATIENCE = 120.0
"""Seconds after which a silent program is given up."""


class Missing(Exception):
    """A tool or a permission is not there; the text says which, and how to get it."""


class Ended(Exception):
    """A program ended that should have gone on."""


def crowd_source() -> str:
    """Write 10,000 small functions as compilers make them, and a table of them."""
    names = [f"member_{number:05d}" for number in range(CROWD)]
    functions = [
        f"__attribute__((noinline, noclone)) long {name}(long x)"
        f" {{ volatile long y = x + {number}; return y - {number - 1}; }}"
        for number, name in enumerate(names)
    ]
    return "\n".join(
        [
            *functions,
            "typedef long function(long);",
            f"function *const crowd[] = {{{', '.join(names)}}};",
            f"const int crowd_size = {CROWD};",
            "",
        ]
    )


@dataclass(frozen=True)
class Recipe:
    """How a program is built: its sources; one more, compiled with flags of its own; libraries.

    `header` must be there, or `package` is to be installed.
    """

    sources: tuple[Path, ...]
    helped: tuple[Path, str] | None = None
    libraries: tuple[str, ...] = ()
    header: str = ""
    package: str = ""


_VICTIM, _COMPILED = PROGRAMS / "victim.c", PROGRAMS / "compiled.c"
RECIPES = {
    "victim": Recipe((_VICTIM,)),
    "crowd": Recipe((_VICTIM, BUILT / "crowd.c")),
    "by_hand": Recipe((_VICTIM, PROGRAMS / "by_hand.c")),
    "compiled_pg": Recipe((_VICTIM,), helped=(_COMPILED, "-pg")),
    "compiled_patchable": Recipe((_VICTIM,), helped=(_COMPILED, "-fpatchable-function-entry=5")),
    "static_point": Recipe(
        (_VICTIM, PROGRAMS / "static_point.c"),
        libraries=("-llttng-ust", "-ldl"),
        header="lttng/tracepoint.h",
        package="liblttng-ust-dev",
    ),
    "one_stop": Recipe((PROGRAMS / "one_stop.c",)),
    "zydis_loop": Recipe(
        (PROGRAMS / "zydis_loop.c",), None, ("-lZydis",), "Zydis/Zydis.h", "libzydis-dev"
    ),
}


@cache
def build(name: str) -> Path:
    """Compile a program unless that was done since its source changed; raises Missing."""
    if shutil.which("gcc") is None:
        raise Missing("no C compiler: install the package gcc")
    recipe = RECIPES[name]
    if recipe.header and not Path("/usr/include", recipe.header).exists():
        found = list(Path("/usr/include").glob(f"*/{recipe.header}"))
        if not found:
            raise Missing(f"no {recipe.header}: install the package {recipe.package}")
    BUILT.mkdir(exist_ok=True)
    if name == "crowd" and not (BUILT / "crowd.c").exists():
        (BUILT / "crowd.c").write_text(crowd_source())
    binary = BUILT / name
    sources = [*recipe.sources, *(recipe.helped or ())[:1]]
    if not binary.exists() or any(s.stat().st_mtime > binary.stat().st_mtime for s in sources):
        parts: list[str | Path] = [*recipe.sources]
        if recipe.helped is not None:
            source, flag = recipe.helped
            parts.append(BUILT / f"{name}.o")
            subprocess.run(["gcc", *FLAGS, flag, "-c", "-o", parts[-1], source], check=True)
        command = ["gcc", *FLAGS, "-I", PROGRAMS, "-o", binary, *parts, *recipe.libraries]
        subprocess.run(command, check=True)
    return binary


@cache
def libc_path() -> Path:
    """Return the file of the C library that programs here use."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            name = line.split()[-1]
            if os.path.basename(name).startswith(("libc.so.", "libc-")):
                return Path(name)
    raise Missing("this Python is linked with no C library of its own")


@cache
def symbols(binary: Path) -> dict[str, tuple[int, int]]:
    """Return the address in the file and the size of each function of a program."""
    with binary.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        return {
            s.name: (s["st_value"], s["st_size"])
            for s in table.iter_symbols()
            if s["st_info"]["type"] == "STT_FUNC"
        }


def file_code(binary: Path, function: str, size: int = 16) -> bytes:
    """Return the bytes that stand in a program's file at a function's beginning."""
    address, _ = symbols(binary)[function]
    with binary.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".text")
        return section.data()[address - section["sh_addr"] :][:size]


@dataclass(frozen=True)
class Answer:
    """What one order took, by the clock, and of CPU time."""

    ns: int
    ns_per_call: float
    cpu_ns_per_call: float


def cpu_ns(pid: int) -> int:
    """Return the time that a process's living threads have spent on a CPU."""
    total = 0
    for schedule in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(schedule.read_text().split()[0])
    return total


class Victim:
    """One running program; `cpus` binds it, `launcher` is a command that starts it."""

    def __init__(
        self,
        program: str | Path = "victim",
        cpus: Collection[int] | None = None,
        launcher: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.binary = build(program) if isinstance(program, str) else program
        self.process = subprocess.Popen(
            [*launcher, self.binary],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if launcher else None,
            bufsize=0,
            env={**os.environ, **(environment or {})},
            preexec_fn=None if cpus is None else lambda: os.sched_setaffinity(0, cpus),
        )
        self._unread = b""
        self.pid = int(self._answer()["pid"])
        self.base = self._load_address()

    def _load_address(self) -> int:
        path = os.path.realpath(self.binary)
        with open(f"/proc/{self.pid}/maps", encoding="utf-8") as maps:
            return min(int(line.split("-")[0], 16) for line in maps if line.rstrip().endswith(path))

    def address(self, function: str) -> int:
        """Return the run-time address of a function."""
        return self.base + symbols(self.binary)[function][0]

    def code(self, function: str, size: int = 16) -> bytes:
        """Return the bytes that stand now at a function's beginning."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(self.address(function))
            return memory.read(size)

    def members(self, count: int = CROWD) -> list[int]:
        """Return the run-time addresses of the crowd's functions."""
        return [self.address(f"member_{number:05d}") for number in range(count)]

    def call(self, function: str, count: int, threads: int = 1) -> Answer:
        """Let it call a function; raises Ended, AssertionError when a call returned nonsense."""
        return self._order(f"call {function} {count} {threads}")

    def begin(self, function: str, count: int, threads: int = 1, interval_ns: int = 0) -> None:
        """Let it begin to call a function, each thread every so many nanoseconds; then `end`."""
        self._say(f"pace {function} {count} {threads} {interval_ns}")

    @property
    def calling(self) -> bool:
        """Whether what was begun still goes on."""
        return not self._unread and not select.select([self.process.stdout], [], [], 0)[0]

    def end(self) -> Answer:
        """Wait until what was begun is over."""
        return self._heard("the calls")

    def obey(self, order: str) -> None:
        """Give it an order that only its own program knows; raises Ended when it is refused."""
        self._order(order)

    def sweep(self, times: int = 1) -> Answer:
        """Let it call every function of the crowd."""
        return self._order(f"sweep {times}")

    def _order(self, text: str) -> Answer:
        self._say(text)
        return self._heard(text)

    def _say(self, text: str) -> None:
        try:
            self.process.stdin.write(text.encode() + b"\n")
        except BrokenPipeError:
            raise Ended(f"the victim ended: {self.process.wait()}") from None

    def _heard(self, order: str) -> Answer:
        answer = self._answer()
        if "error" in answer:
            raise Ended(f"the victim did not do it: {order}")
        assert answer["right"], f"{order}: a probe changed what the program computes"
        return Answer(answer["ns"], answer["ns_per_call"], answer["cpu_ns_per_call"])

    def _answer(self) -> dict:
        deadline = time.monotonic() + PATIENCE
        stream = self.process.stdout
        while b"\n" not in self._unread:
            if not select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise Ended(f"the victim says nothing for {PATIENCE:.0f} s")
            part = os.read(stream.fileno(), 1 << 16)
            if not part:
                raise Ended(f"the victim ended: {self.process.wait()}")
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        """End the program."""
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> "Victim":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
