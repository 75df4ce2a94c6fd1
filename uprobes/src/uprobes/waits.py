"""Waiting for tracees: their stops are looked at first, and taken only where nothing is lost by it.

Numbers are Linux's (include/uapi/linux/wait.h, include/uapi/asm-generic/siginfo.h).
"""

import ctypes
import errno
import os
import signal
from collections.abc import Callable

from uprobes.ptrace import SIGINFO_SIZE, WALL, Event

WNOTHREAD = 0x20000000
"""Wait only for tracees and children of the calling thread, so that a program that uses us keeps
its own.
"""

WAIT_FLAGS = WALL | WNOTHREAD
PEEK_FLAGS = WAIT_FLAGS | 0x0100_0000 | os.WEXITED | os.WSTOPPED
"""Wait for ends and stops, and leave them as they are (WNOWAIT)."""
POLL_FLAGS = PEEK_FLAGS | os.WNOHANG

CLD_EXITED, CLD_KILLED, CLD_DUMPED, CLD_TRAPPED = 1, 2, 3, 4
ENDS = (CLD_EXITED, CLD_KILLED, CLD_DUMPED)

STOP_SIGNALS = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})

_blocking = ctypes.CDLL(None, use_errno=True)

peek = ctypes.CDLL(None).waitid
"""waitid itself: it leaves the stop to be waited for (`PEEK_FLAGS`), and a signal ends the wait.

A stop that was waited for has lost its signal: if we are killed then, the thread goes on behind its
breakpoint as if nothing had been there. One that was only looked at keeps the signal, and the guard
gets it. The siginfo goes into a ctypes object; `PEEKED_…` say which of its ints hold what.
"""
P_ALL, P_PID = 0, 1
PEEKED_CODE, PEEKED_TID, PEEKED_STATUS = 2, 4, 6


def interruptible_wait(number: int) -> None:
    """Let a signal end `wait_any` early: an empty C handler, without SA_RESTART, that Python never
    sees.
    """
    nothing = ctypes.cast(_blocking.abs, ctypes.c_void_p)
    _blocking.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    _blocking.signal.restype = ctypes.c_void_p
    if _blocking.signal(number, nothing) == ctypes.c_void_p(-1).value:
        raise OSError(errno.EINVAL, f"no handler for signal {number}")
    _blocking.siginterrupt(number, 1)


def peek_one(tid: int, *, leave_end: bool = False, meanwhile: Callable[[], object] = int) -> int:
    """Wait until a thread stops or ends, and return its wait status.

    The stop stays to be waited for where it is a signal's; every other stop is taken, and the end
    unless it is to be left. `meanwhile` is called when a signal interrupts the wait.
    Raises ChildProcessError when the thread is none of ours.
    """
    siginfo = (ctypes.c_int * (SIGINFO_SIZE // 4))()
    while _blocking.waitid(P_PID, tid, siginfo, PEEK_FLAGS):
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, f"waiting for {tid}: {os.strerror(number)}")
        meanwhile()
    return take(tid, siginfo[PEEKED_CODE], siginfo[PEEKED_STATUS], leave_end=leave_end)


def report_of(tid: int) -> tuple[int, int] | None:
    """Return code and status of a thread's stop or end that waits to be taken; nothing is taken."""
    siginfo = (ctypes.c_int * (SIGINFO_SIZE // 4))()
    if _blocking.waitid(P_PID, tid, siginfo, POLL_FLAGS) or not siginfo[PEEKED_TID]:
        return None
    return siginfo[PEEKED_CODE], siginfo[PEEKED_STATUS]


def ending(tid: int) -> tuple[int, int] | None:
    """Return code and status of a thread's end, or of its last stop, that waits to be taken."""
    report = report_of(tid)
    return report if report and (report[0] in ENDS or report[1] >> 8 == Event.EXIT) else None


def stands(tid: int) -> bool:
    """Tell whether a thread has a stop, or its end, to report; nothing is taken."""
    return report_of(tid) is not None


def take(tid: int, code: int, status: int, *, leave_end: bool = False) -> int:
    """Return the wait status of a stop or end that was looked at, and take it.

    A signal's stop stays to be waited for, and so does an end with `leave_end`.
    """
    if code == CLD_TRAPPED and not status >> 7:
        return status << 8 | 0x7F
    if leave_end and code in ENDS:
        return status << 8 if code == CLD_EXITED else status | (code == CLD_DUMPED) << 7
    taken, status = os.waitpid(tid, WALL | os.WNOHANG)
    if not taken:
        raise ProcessLookupError(errno.ESRCH, f"thread {tid} was killed meanwhile")
    return status


def is_group_stop(status: int) -> bool:
    """Tell whether a wait status says that a thread stops with its program.

    Whoever has it go on nevertheless must interrupt it afterwards: it then reports the stop again.
    """
    return status >> 16 == Event.STOP and os.WSTOPSIG(status) in STOP_SIGNALS
