"""`python -m uprobes.command.demo`: probe a multithreaded program nobody prepared, and show it."""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from rich.text import Text

import uprobes
from uprobes import Hit, Method, Probe, ProbeError, Return
from uprobes.command.document import label
from uprobes.command.histogram import Histogram, duration
from uprobes.command.tables import console, draw_histogram, table_of

ENTRIES = ("libc:malloc", "libc:pthread_mutex_lock", "libc:memcpy", "liblzma:lzma_crc64")
RETURNS = ("liblzma:lzma_code", "libc:read")
BY_METHOD = "liblzma:lzma_crc64"
METHODS = (Method.INLINE, Method.STEP, Method.BOOST, Method.EMULATE)
WORDS = 1_500_000
PATIENCE = 120
"""Seconds after which a run that should take one is given up."""


@dataclass(slots=True)
class Outcome:
    """What a run of the program came to."""

    code: int | None
    output: bytes
    elapsed_s: float


@dataclass(slots=True)
class Seen:
    """What handlers wrote down."""

    threads: dict[Probe, set[int]] = field(default_factory=lambda: defaultdict(set))
    calls: dict[Probe, Histogram] = field(default_factory=lambda: defaultdict(Histogram))

    def hit(self, hit: Hit) -> None:
        """Note which thread came by."""
        self.threads[hit.probe].add(hit.tid)

    def returned(self, ret: Return) -> None:
        """Note how long a call took, and in which thread."""
        self.threads[ret.probe].add(ret.tid)
        self.calls[ret.probe].add(ret.elapsed_ns)


class Program:
    """`xz` with four threads, on an input that is the same every time."""

    def __init__(self, folder: Path) -> None:
        path = shutil.which("xz")
        if path is None:
            raise FileNotFoundError("there is no xz here (Debian package xz-utils)")
        self.source = folder / "input"
        self.result = folder / "input.xz"
        self.argv = [path, "-T4", "-0", "--block-size=512KiB", "-k", "-f", str(self.source)]
        self.name = " ".join(["xz", *self.argv[1:-1], self.source.name])
        # Text of words drawn at random: compresses like text, and needs no file of this machine.
        rng = random.Random(1)
        words = [f"{rng.getrandbits(20):x} ".encode() for _ in range(5000)]
        self.source.write_bytes(b"".join(rng.choices(words, k=WORDS)))

    def run_plain(self) -> Outcome:
        """Run it as anybody would."""
        begin = time.monotonic()
        code = subprocess.run(self.argv, check=False).returncode
        return self._outcome(code, begin)

    def run_probed(self, put: "Put") -> Outcome:
        """Run it with the probes that `put` registers; raises ProbeError when it does not end."""
        begin = time.monotonic()
        with uprobes.spawn(self.argv) as target:
            put(target)
            status = target.run(timeout=PATIENCE)
            if status is None:
                target.kill()
                raise ProbeError(f"the program did not end within {PATIENCE} s", code="demo")
        return self._outcome(status.code, begin)

    def _outcome(self, code: int | None, begin: float) -> Outcome:
        elapsed = time.monotonic() - begin
        output = self.result.read_bytes() if self.result.exists() else b""
        self.result.unlink(missing_ok=True)
        return Outcome(code, output, elapsed)


class Put:
    """Registers probes on a target, and keeps them."""

    def __init__(self, method: Method | None = None) -> None:
        self.method = method
        self.seen = Seen()
        self.registrations: list[uprobes.Registration] = []

    def __call__(self, target: uprobes.Target) -> None:
        """Put entry and return probes in, or one probe of a forced method."""
        register = target.register
        if self.method is not None:
            self.registrations = [register([BY_METHOD], self.seen.hit, method=self.method)]
        else:
            self.registrations = [
                register(ENTRIES, self.seen.hit),
                register(RETURNS, self.seen.returned, returns=True),
            ]

    @property
    def probes(self) -> list[Probe]:
        """The probes that came in."""
        return [probe for registration in self.registrations for probe in registration.probes]

    @property
    def refused(self) -> list[ProbeError]:
        """What could not be probed."""
        return [error for registration in self.registrations for error in registration.refused]


def judge(plain: Outcome, probed: Outcome) -> bool:
    """Tell whether a probed run did exactly what the plain one did."""
    return probed.code == plain.code == 0 and probed.output == plain.output


def main() -> int:
    """Run the program plain, with probes, and once by each method; 1 when anything differed."""
    out = console(sys.stdout)
    with tempfile.TemporaryDirectory(prefix="uprobes-demo-") as folder:
        program = Program(Path(folder))
        size = program.source.stat().st_size
        out.print(Text(f"{program.name}   ({size:,} bytes of text)", "bold"))
        plain = program.run_plain()
        out.print(
            f"unprobed: {plain.elapsed_s:.2f} s, exit code {plain.code}, "
            f"{len(plain.output):,} bytes written\n"
        )
        put = Put()
        probed = program.run_probed(put)
        right = ("hits", "misses", "threads", "mean call", "longest", "cost/hit")
        table = table_of("probe", *right, "method", "instruction", right=right)
        for probe in put.probes:
            calls = put.seen.calls.get(probe)
            times = [duration(calls.mean), duration(calls.most)] if calls else ["", ""]
            table.add_row(
                label(probe.location) + (" (return)" if probe.returns else ""),
                f"{probe.hits:,}",
                f"{probe.misses:,}",
                f"{len(put.seen.threads[probe]):,}",
                *times,
                duration(probe.cost_ns) if probe.cost_ns is not None else "-",
                str(probe.method),
                Text(probe.instruction.text if probe.instruction else "-"),
            )
        out.print(table)
        for probe, calls in put.seen.calls.items():
            draw_histogram(probe, calls, out)
        same = [judge(plain, probed)]
        out.print(f"\nprobed: {probed.elapsed_s:.2f} s, {_difference(same[0], probed)}\n")
        table = table_of("method", "hits", "cost/hit", "run", right=("hits", "cost/hit"))
        for method in METHODS:
            forced = Put(method)
            run = program.run_probed(forced)
            same.append(judge(plain, run))
            [probe] = forced.probes
            table.add_row(
                str(probe.method),
                f"{probe.hits:,}",
                duration(probe.cost_ns) if probe.cost_ns is not None else "-",
                f"{run.elapsed_s:.2f} s, {_difference(same[-1], run)}",
            )
        out.print(Text(f"{BY_METHOD} by each method", "bold"))
        out.print(table)
        for error in put.refused:
            out.print(Text(f"refused: {error}", "red"))
    lost = sum(probe.misses for probe in put.probes)
    return int(not all(same) or bool(put.refused) or bool(lost))


def _difference(same: bool, run: Outcome) -> str:
    if same:
        return "output and exit code as unprobed"
    return f"NOT as unprobed: exit code {run.code}, {len(run.output):,} bytes written"


if __name__ == "__main__":
    sys.exit(main())
