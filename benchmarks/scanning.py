"""How fast whole sections are analysed: `insn.scan` beside other decoders, all from Python."""

import importlib.util
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import cache

from elftools.elf.elffile import ELFFile

import insn
from benchmarks.report import Figure, Goal, Ratio, Section, ratio
from benchmarks.victims import BUILT, Missing, build, libc_path

CAPSTONE_GOAL, ICED_GOAL = Goal(10, at_most=False), Goal(2, at_most=False)
MEGABYTE = 1 << 20
SIZES_MB = (1, 10, 100)
ZYDIS_TIMES = 5
TURN_NS = 200_000_000


@cache
def text() -> tuple[bytes, int]:
    """Return libc's text and its address."""
    with libc_path().open("rb") as file:
        section = ELFFile(file).get_section_by_name(".text")
        return section.data(), section["sh_addr"]


def ours() -> int:
    """Scan: length, flow, target, operand from the program counter, verdict of each instruction."""
    code, address = text()
    return len(insn.scan(code, address))


def capstone_lite() -> int:
    """Let capstone make (address, size, mnemonic, operands) of each instruction."""
    import capstone

    code, address = text()
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.skipdata = True
    count = 0
    for _ in decoder.disasm_lite(code, address):
        count += 1
    return count


def iced_same() -> int:
    """Ask iced-x86 for length, flow, target and operand from the program counter."""
    if importlib.util.find_spec("iced_x86") is None:
        raise Missing("iced-x86 is not installed: `pip install iced-x86`")
    import iced_x86

    code, address = text()
    count = 0
    for instruction in iced_x86.Decoder(64, code, ip=address):
        count += 1
        _ = instruction.len
        _ = instruction.flow_control
        _ = instruction.near_branch_target
        if instruction.is_ip_rel_memory_operand:
            _ = instruction.ip_rel_memory_address
    return count


def iced_bare() -> int:
    """Let iced-x86 decode and ask nothing."""
    if importlib.util.find_spec("iced_x86") is None:
        raise Missing("iced-x86 is not installed: `pip install iced-x86`")
    import iced_x86

    code, address = text()
    count = 0
    for _ in iced_x86.Decoder(64, code, ip=address):
        count += 1
    return count


def _rate(work: Callable[[], int]) -> float:
    """Return million instructions a second of CPU time, in a turn that is long enough for all."""
    begun = time.process_time_ns()
    count = took = 0
    while took < TURN_NS:
        count += work()
        took = time.process_time_ns() - begun
    return count * 1e3 / took


def zydis_rate() -> float:
    """Return the same of a C loop over Zydis."""
    code, address = text()
    path = BUILT / "libc-text"
    if not path.exists() or path.stat().st_size != len(code):
        BUILT.mkdir(exist_ok=True)
        path.write_bytes(code)
    program = build("zydis_loop")
    answer = subprocess.run(
        [program, path, hex(address), str(ZYDIS_TIMES)], capture_output=True, text=True, check=True
    )
    count, ns, _ = map(int, answer.stdout.split())
    return count * 1e3 / ns


FIRST_SCAN = """
import sys, time
from pathlib import Path
import insn
code, address = Path(sys.argv[1]).read_bytes(), int(sys.argv[2])
begun = time.process_time_ns()
count = len(insn.scan(code, address))
print(count * 1e3 / (time.process_time_ns() - begun))
"""


def first_rate() -> float:
    """Return the rate of the first scan of a fresh process, which learns the forms on the way."""
    code, address = text()
    path = BUILT / "libc-text"
    BUILT.mkdir(exist_ok=True)
    path.write_bytes(code)
    answer = subprocess.run(
        [sys.executable, "-c", FIRST_SCAN, path, str(address)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(answer.stdout)


OURS, LITE, ICED = "insn.scan", "capstone disasm_lite", "iced-x86, asked the same"
WAYS: tuple[tuple[str, Callable[[], float]], ...] = (
    (OURS, lambda: _rate(ours)),
    (LITE, lambda: _rate(capstone_lite)),
    (ICED, lambda: _rate(iced_same)),
    ("iced-x86, bare iteration", lambda: _rate(iced_bare)),
    ("C loop over Zydis, asked the same", zydis_rate),
)


GOALS = {LITE: CAPSTONE_GOAL, ICED: ICED_GOAL}


def scan_costs(rounds: int) -> Section:
    """Measure every decoder in turns on libc's text."""
    taken: dict[str, list[float]] = {name: [] for name, _ in WAYS}
    missing: dict[str, str] = {}
    ours()  # learns the forms
    for _ in range(rounds):
        for name, way in WAYS:
            if name in missing:
                continue
            try:
                taken[name].append(way())
            except Missing as error:
                missing[name] = str(error)
    code, _ = text()
    section = Section(
        "Scanning x86-64 text",
        f"Million instructions per second of CPU time, {len(code):,} bytes of {libc_path().name}."
        " Ours gives the verdict as well.",
    )
    for name, _ in WAYS:
        if name in missing:
            section.figures.append(Figure(name, note=f"not measured: {missing[name]}"))
            continue
        compared = [
            Ratio(f"over {other}", ratio(taken[OURS], taken[other]), GOALS.get(other))
            for other, _ in WAYS[1:]
            if name == OURS and taken[other]
        ]
        section.figures.append(Figure(name, tuple(taken[name]), "M/s", tuple(compared)))
    return section


def scan_growth(rounds: int) -> Section:
    """Measure how time and memory grow with the text."""
    code, address = text()
    rounds = max(3, rounds // 3)
    per_megabyte: dict[int, list[float]] = {size: [] for size in SIZES_MB}
    longest = (code * (SIZES_MB[-1] * MEGABYTE // len(code) + 1))[: SIZES_MB[-1] * MEGABYTE]
    insn.scan(longest, address)  # a virtual machine gets its memory when it is first touched
    for _ in range(rounds):
        for size in SIZES_MB:
            long = longest[: size * MEGABYTE]
            begun = time.process_time_ns()
            insn.scan(long, address)
            per_megabyte[size].append((time.process_time_ns() - begun) / 1e6 / size)
    tracemalloc.start()
    insn.scan(code, address)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    section = Section(
        "Scanning more and more text",
        "CPU time per megabyte of libc's text, repeated; memory at its peak per byte of text.",
    )
    base = per_megabyte[SIZES_MB[0]]
    for size, taken in per_megabyte.items():
        compared = () if size == SIZES_MB[0] else (Ratio("over 1 MB", ratio(taken, base)),)
        section.figures.append(Figure(f"{size} MB", tuple(taken), "ms/MB", compared))
    section.figures.append(Figure("memory", (peak / len(code),), "bytes/byte"))
    return section


def scan_learning() -> Section:
    """Measure the first scan of a process, which learns what forms of instructions there are."""
    return Section(
        "The first scan in a process",
        "Million instructions per second of CPU time, numpy's import left out.",
        [Figure("insn.scan, first in a process", tuple(first_rate() for _ in range(3)), "M/s")],
    )
