"""Processes that share memory, children of vfork and of clone: those are found that are there
already when we come.

Breakpoints cannot be kept from them, so they are traced like the process's own threads. The thread
that waits for such a child can't be stopped (`Tracee.vforking`).
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from uprobes.attaching import seize_all
from uprobes.errors import ProbeError
from uprobes.tracee import State, Tracee

if TYPE_CHECKING:
    from uprobes.engine import Engine
    from uprobes.process import Process

SYS_KCMP = 312
KCMP_VM = 1


def take_in_sharing(engine: "Engine", process: "Process") -> None:
    """Trace all that run in the memory of a process whose own threads are traced already."""
    found = [process.pid]
    for pid in found:
        for thread, child in children_of(pid):
            if child in engine.tracees or not _share(process.pid, child):
                continue
            try:
                tids = seize_all(child)
            except ProbeError:
                continue  # it has ended, or has a tracer
            found.append(child)
            tracees = [engine.lifetimes.add(tid, child, process) for tid in tids]
            held = engine.holding.quiesce(tracees)
            if not _share(process.pid, child):
                _let_go(engine, process, held)
            elif thread in engine.tracees and _waits_for_child(engine.tracees[thread]):
                engine.tracees[thread].vforking = True
            engine.holding.release(held)


def _let_go(engine: "Engine", process: "Process", tracees: list[Tracee]) -> None:
    """Leave threads alone whose process became another program just before it was traced."""
    for tracee in tracees:
        if tracee.state is State.STOPPED and process.tracees.pop(tracee.tid, None) is not None:
            del engine.tracees[tracee.tid]
            status = tracee.pending or 0
            tracee.detach(0 if status >> 16 else os.WSTOPSIG(status))


def _waits_for_child(tracee: Tracee) -> bool:
    """Tell whether a thread is in a system call that lasts until its child has memory of its own.

    That child is stopped: it can't end just now.
    """
    try:
        words = Path(f"/proc/{tracee.tid}/syscall").read_text().split()
        return int(words[0]) in tracee.machine.vforks
    except (OSError, ValueError):
        return False  # it runs, or has ended


def children_of(pid: int) -> Iterator[tuple[int, int]]:
    """Give each child of a process with the thread that made it."""
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a kernel built without PROC_CHILDREN, or it has ended
            for child in tasks.read_text().split():
                yield int(tasks.parent.name), int(child)


def _share(pid: int, child: int) -> bool:
    try:
        return same_memory(pid, child)
    except OSError:
        return False  # the kernel can't say


def same_memory(one: int, other: int) -> bool:
    """Tell whether two processes run in the same memory (kcmp(2)); raises OSError where the kernel
    can't say.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(SYS_KCMP, one, other, KCMP_VM, 0, 0)
    if result < 0:
        code = ctypes.get_errno()
        if code == errno.ESRCH:
            return False
        raise OSError(code, os.strerror(code))
    return bool(result == 0)
