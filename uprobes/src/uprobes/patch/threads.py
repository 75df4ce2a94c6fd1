"""Where the held threads of a process are, or may come back to: what must not be written over."""

import contextlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uprobes.errors import ProbeError
from uprobes.maps import mapping_at, read_mappings
from uprobes.status import signal_sets
from uprobes.tracee import State

if TYPE_CHECKING:
    from uprobes.process import Process
    from uprobes.tracee import Tracee

WORD = np.uint64(8)
MOST_STACK = 1 << 26
"""More of a stack than this is not looked through."""


def addresses_in_use(process: "Process", tracees: "Iterable[Tracee]") -> NDArray[np.uint64]:
    """Return every address at which a held thread is, or will be when a signal handler returns.

    Return addresses need no look: none points into a window or a trampoline but those in the tables
    of calls. What a signal interrupted stands on the stack, with the code segment two words behind
    the program counter (struct sigcontext, arch/x86/include/uapi/asm/sigcontext.h); a number that
    only looks like that can make the caller wait, no more.
    """
    return np.unique(positions(process, tracees).addresses)


class Positions(NamedTuple):
    """Where held threads are and what signals interrupted, one for each in three arrays."""

    addresses: NDArray[np.uint64]
    stacks: NDArray[np.uint64]
    """The stack pointers there."""
    kept: NDArray[np.uint64]
    """The places of the words that hold the addresses until a handler returns, 0 for none."""


def positions(process: "Process", tracees: "Iterable[Tracee]") -> Positions:
    """Return where held threads are, and what signals interrupted.

    A signal's frame has the stack pointer in the word before the program counter.
    """
    machine = process.machine
    mappings = read_mappings(process.pid)
    found: list[NDArray[np.uint64]] = []
    stacks: list[NDArray[np.uint64]] = []
    kept: list[NDArray[np.uint64]] = []
    here: list[int] = []
    tops: list[int] = []
    for tracee in tracees:
        if tracee.state is State.GONE:
            continue
        try:
            ip, sp = tracee.peek(machine.ip), tracee.peek(machine.sp)
        except OSError:
            continue  # it has died
        here.append(ip)
        tops.append(sp)
        low = sp & ~7
        mapping = mapping_at(mappings, low)
        if mapping is None:
            continue
        try:
            stack = process.memory.read(low, min(mapping.end - low, MOST_STACK) & ~7)
        except ProbeError:
            continue
        words = np.frombuffer(stack, np.uint64)
        behind, mask, expected = machine.saved_ip
        if len(words) > behind:
            marked = words[behind:] & np.uint64(mask) == np.uint64(expected)
            found.append(words[:-behind][marked])
            stacks.append(np.roll(words, 1)[:-behind][marked])
            kept.append(np.flatnonzero(marked).astype(np.uint64) * WORD + np.uint64(low))
    found.append(np.array(here, np.uint64))
    stacks.append(np.array(tops, np.uint64))
    kept.append(np.zeros(len(here), np.uint64))
    return Positions(np.concatenate(found), np.concatenate(stacks), np.concatenate(kept))


def blocks_signal(pid: int, number: int) -> bool:
    """Tell whether any thread of a process blocks a signal now."""
    with contextlib.suppress(OSError):
        tids = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
        return any(signal_sets(tid).get("SigBlk", 0) >> (number - 1) & 1 for tid in tids)
    return True


def hits(
    used: NDArray[np.uint64], starts: NDArray[np.uint64], ends: NDArray[np.uint64]
) -> NDArray[np.bool_]:
    """Tell for each stretch whether any address in use lies in it, its first one included.

    A thread at the first instruction may be about to get a fault of it, whose handler may have it
    go on behind that.
    """
    first = np.searchsorted(used, starts, side="left")
    behind = np.searchsorted(used, ends, side="left")
    return behind > first
