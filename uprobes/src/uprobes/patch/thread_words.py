"""Where a process keeps what generated code asks of a thread: its number, and its CPU's.

The C library has the number, the kernel keeps the CPU's in the rseq area; both at a fixed distance
from the thread pointer. Nothing is taken for granted: what is found in one thread must be right
there.
"""

import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from uprobes import ptrace
from uprobes.errors import ProbeError

if TYPE_CHECKING:
    from uprobes.tracee import Tracee

CPU_ID = 4
"""struct rseq (include/uapi/linux/rseq.h): cpu_id_start, cpu_id, …"""
MOST_DISTANCE = 1 << 20


@dataclass(frozen=True, slots=True)
class ThreadWords:
    """Offsets from the thread pointer; None where the kernel or the CPU must be asked instead."""

    tid: int | None = None
    cpu: int | None = None


def thread_words(tracee: "Tracee") -> ThreadWords:
    """Look at one stopped thread."""
    base = tracee.peek(tracee.machine.thread_pointer)
    if not base:
        return ThreadWords()
    area = ptrace.rseq_area(tracee.tid)
    cpu = area + CPU_ID - base
    return ThreadWords(
        _tid_offset(tracee, base), cpu if area and abs(cpu) < MOST_DISTANCE else None
    )


@cache
def cpu_flags() -> frozenset[str]:
    """Return what this machine's CPU can do, by the kernel's names."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def _tid_offset(tracee: "Tracee", base: int) -> int | None:
    for offset in tracee.machine.tid_offsets:
        try:
            found = tracee.process.memory.read(base + offset, 4)
        except ProbeError:
            continue
        if found == struct.pack("<i", tracee.tid):
            return offset
    return None
