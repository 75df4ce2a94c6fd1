"""A signal that ends a process with a core dump: leave it first, so that the core shows no probes.

What the kernel writes is what it would write without us: text without breakpoints, stacks with the
real return addresses, no mapping of ours, no thread in a slot.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

from uprobes import ptrace, waits
from uprobes.errors import ProbeError
from uprobes.guard.action import current_handler
from uprobes.guard.keeper import IGNORE
from uprobes.inject import check_end
from uprobes.ptrace import Request
from uprobes.retiring import retire
from uprobes.status import status_fields
from uprobes.tracee import CHANGED, Tracee

if TYPE_CHECKING:
    from uprobes.engine import Engine

DUMPING = frozenset(
    {
        signal.SIGQUIT,
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGABRT,
        signal.SIGFPE,
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGXCPU,
        signal.SIGXFSZ,
        signal.SIGSYS,
    }
)
"""Signals whose default is a core dump (signal(7))."""
INIT = "1"


def deliver(engine: "Engine", tracee: Tracee, number: int) -> None:
    """Let a stopped thread go on with a signal (0 for none), as if it was not traced."""
    if number in DUMPING and _may_be_fatal(tracee, number):
        _leave(engine, tracee, number)
    else:
        tracee.resume(number)


def _may_be_fatal(tracee: Tracee, number: int) -> bool:
    """Tell whether a signal meets its default, as far as can be seen without touching the process.

    Behind the guard's handler, SIGTRAP may.
    """
    process = tracee.process
    if tracee.pid != process.pid:
        return False  # a child that shares its parent's memory dies alone
    fields = status_fields(tracee.tid)
    # The kernel lets no such signal end the first process of a container.
    if not fields or fields.get("NSpid", "0").split()[-1] == INIT:
        return False
    handled = int(fields["SigCgt"], 16) | int(fields["SigIgn"], 16)
    if not handled >> (number - 1) & 1:
        return True
    guard = process.guard if number == signal.SIGTRAP else None
    return guard is not None and guard.covers_default()


def _leave(engine: "Engine", tracee: Tracee, number: int) -> None:
    """Leave the process of a thread that is about to end it, and let it do that."""
    process = tracee.process
    if ptrace.signal_info(tracee.tid).of_event:
        return  # killed while we looked at it: this is its last stop, which is on its way
    tracee.flush()
    others = engine.holding.quiesce([t for t in process.tracees.values() if t is not tracee])
    try:
        shared = any(t.pid != process.pid for t in process.tracees.values())
        with _same_stop(tracee):
            if not shared and _is_fatal(tracee, number):
                retire(engine, process)
                process.abandon()
        tracee.resume(number)
    finally:
        engine.holding.release(others)


def _is_fatal(tracee: Tracee, number: int) -> bool:
    """Tell it for good, now that nobody can change it."""
    process = tracee.process
    if number != signal.SIGTRAP or process.guard is None:
        return _may_be_fatal(tracee, number)
    process.caller = tracee
    try:
        handler = current_handler(process)
    except (OSError, ProbeError):
        return False
    finally:
        process.caller = None
    return handler < IGNORE or handler == process.guard.made.handler


@contextlib.contextmanager
def _same_stop(tracee: Tracee) -> Iterator[None]:
    """Let a thread that is stopped for a signal make system calls, and be back at that stop then.

    The first of them takes the signal from it. Raises TargetGone when the thread ends.
    """
    tid = tracee.tid
    info = ptrace.signal_info(tid)
    tracee.load()
    kept = bytes(tracee.buffer)
    yield
    if ptrace.signal_info(tid).raw == info.raw:
        return
    ptrace.tgkill(tracee.pid, tid, info.number)
    while True:
        ptrace.call(Request.CONT, tid)
        status = waits.peek_one(tid)
        check_end(tracee, status)
        if status >> 16 == 0 and os.WSTOPSIG(status) == info.number:
            break
        if status >> 16 == 0:
            tracee.hold(os.WSTOPSIG(status), block=False)
    ptrace.set_signal_info(tid, info)
    tracee.buffer[:] = kept
    tracee.registers.changed = CHANGED
    tracee.flush()
