"""Find what a dead tracer left in a process, and learn from it what has to be undone."""

import contextlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import insn
import ubp
from insn import Method
from uprobes.errors import ProbeError
from uprobes.guard import layout
from uprobes.guard.keeper import AREA, Guard
from uprobes.maps import mapping_at, read_mappings
from uprobes.returns import Frame, Returns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from uprobes.memory import ProcessMemory
    from uprobes.process import Process

OLD_OWNER = 0
"""Frames that a dead tracer left belong to no thread that we know."""


@dataclass(frozen=True, slots=True)
class Remains:
    """What a dead tracer left: where its guard is, how many breakpoints and return addresses."""

    base: int
    breakpoints: int
    frames: int


def find_guard(pid: int, memory: "ProcessMemory") -> int | None:
    """Return where a guard stands in a process, None without one."""
    for mapping in read_mappings(pid):
        if mapping.path or mapping.inode or mapping.permissions != "r-xp":
            continue
        if mapping.end - mapping.start < AREA:
            continue
        # Areas that lie side by side are one mapping to the kernel.
        for start in range(mapping.start, mapping.end - AREA + 1, 0x1000):
            if stands_at(memory, start):
                return start
    return None


def stands_at(memory: "ProcessMemory", base: int) -> bool:
    """Tell whether a guard stands at an address, with a header."""
    try:
        marks = [memory.read(base + at, len(layout.MAGIC)) for at in (0, layout.HEADER)]
    except ProbeError:
        return False
    return marks == [layout.MAGIC, layout.MAGIC]


def unfinished_guards(pid: int, memory: "ProcessMemory") -> list[int]:
    """Return where guards stand whose maker was killed before it had installed their handler.

    They have our size, and nothing of ours in the header yet.
    """
    found = []
    for mapping in read_mappings(pid):
        size = mapping.end - mapping.start
        if mapping.path or mapping.inode or mapping.permissions != "r-xp" or size % AREA:
            continue
        for start in range(mapping.start, mapping.end, AREA):
            with contextlib.suppress(ProbeError):
                begin = memory.read(start, len(layout.MAGIC))
                header = memory.read(start + layout.HEADER, layout.HEADER)
                if not any(header) and (begin == layout.MAGIC or not any(begin)):
                    found.append(start)
    return found


def adopt(process: "Process", base: int) -> Remains:
    """Fill a process's tables from the guard that a dead tracer left there.

    The tables lie in the target's memory: nothing in them is trusted to be sensible, and what is
    not concerns that process alone.
    """
    memory = process.memory

    guard = Guard.read(process, base, process.machine.assemble_guard(base))
    stands = process.breakpoints.stands  # one may not be written yet, or be out already
    if missing := [address for address in guard.led_originals() if not stands(address)]:
        guard.lead(dict.fromkeys(missing, 0))
    process.guard = guard
    ours = guard.rows[guard.rows["led"] == 0]
    process.breakpoints.adopt({int(row["address"]): bytes([int(row["original"])]) for row in ours})
    areas = memory.read(
        base + layout.AREAS.offset, 16 * min(guard.word(layout.AREAS_USED), layout.MOST_AREAS)
    )
    process.take_areas(_mapped(process.pid, struct.iter_unpack("<QQ", areas)))
    for row in ours:
        if row["copy"]:
            with contextlib.suppress(insn.InsnError, ProbeError):
                _know_copy(process, int(row["address"]), int(row["copy"]), bool(row["copied"]))
    return Remains(base, len(ours), _adopt_frames(process, guard))


def _mapped(pid: int, areas: "Iterable[tuple[int, int]]") -> list[tuple[int, int]]:
    """Return the areas for slots among those listed; one is listed before it is mapped."""
    mappings = read_mappings(pid)
    mine = []
    for start, end in areas:
        mapping = None if end & 1 else mapping_at(mappings, start)
        if mapping is None or end > mapping.end or mapping.path or mapping.inode:
            continue
        if mapping.permissions == "r-xp":
            mine.append((start, end))
    return mine


def _know_copy(process: "Process", address: int, copy: int, stepped: bool) -> None:
    """Enter the copy of the instruction at an address, if it is what we would have written."""
    instruction = process.decode(address)
    back = None if stepped else instruction.end
    made = insn.relocate(instruction, copy, back=back, expand_calls=not stepped)
    if process.memory.read(copy, len(made.code)) == made.code:
        process.copies[copy] = ubp.Plan(instruction, Method.BOOST, made)


def _adopt_frames(process: "Process", guard: Guard) -> int:
    trampoline = guard.word(layout.TRAMPOLINE)
    if not trampoline:
        return 0
    process.returns = Returns(process, trampoline)
    frames = guard.frames()
    for place, original in frames:
        process.returns.frames[place] = Frame(place, original, OLD_OWNER)
    process.internal[trampoline] = process.returns.leave
    return len(frames)
