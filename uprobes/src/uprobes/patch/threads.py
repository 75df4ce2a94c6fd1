"""Where the held threads of a process are, or may come back to: what must not be written over."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uprobes.errors import ProbeError
from uprobes.maps import mapping_at, read_mappings
from uprobes.tracee import State

if TYPE_CHECKING:
    from uprobes.process import Process
    from uprobes.tracee import Tracee

MOST_STACK = 1 << 26
"""More of a stack than this is not looked through."""


def addresses_in_use(process: "Process", tracees: "Iterable[Tracee]") -> NDArray[np.uint64]:
    """Return every address at which a held thread is, or that stands on its stack.

    The stack has return addresses, and the contexts that signals interrupted; a number there that
    is none can only make the caller wait. The red zone counts as stack.
    """
    machine = process.machine
    mappings = read_mappings(process.pid)
    found: list[NDArray[np.uint64]] = []
    here: list[int] = []
    for tracee in tracees:
        if tracee.state is not State.STOPPED:
            continue
        try:
            here.append(tracee.peek(machine.ip))
            sp = tracee.peek(machine.sp)
        except OSError:
            continue  # it has died
        low = sp - machine.arch.red_zone & ~7
        mapping = mapping_at(mappings, sp)
        if mapping is None:
            continue
        low = max(low, mapping.start)
        size = min(mapping.end - low, MOST_STACK) & ~7
        try:
            found.append(np.frombuffer(process.memory.read(low, size), np.uint64))
        except ProbeError:
            continue
    found.append(np.array(here, np.uint64))
    return np.unique(np.concatenate(found))


def hits(
    used: NDArray[np.uint64], starts: NDArray[np.uint64], ends: NDArray[np.uint64]
) -> NDArray[np.bool_]:
    """Tell for each stretch whether any address in use lies in it: start < address < end."""
    first = np.searchsorted(used, starts, side="right")
    behind = np.searchsorted(used, ends, side="left")
    return behind > first
