"""Make a stopped thread do a system call for us, and leave no trace of it.

No text is written for that: see `way_back`. All signals are blocked meanwhile; registers, mask and
a system call waiting to be restarted are put back.
"""

import contextlib
import errno
import os
import signal
import struct
import time

from uprobes import ptrace
from uprobes.errors import CannotMap, TargetGone
from uprobes.ptrace import ALL_SIGNALS, FAULTS, WALL, Event, Request, TrapCode
from uprobes.seccomp import check_prepared
from uprobes.tracee import CALL_STOP, Tracee
from uprobes.way_back import WayBack

RESTART_CODES = frozenset({512, 513, 514, 516})
"""What the kernel puts in the result while it decides on a restart (include/linux/errno.h)."""
NO_CALL = (1 << 64) - 1
LONGEST_WAY = 20.0
"""Seconds in which a thread comes to execute one instruction, however busy the machine is."""
SOON = 0.001


def call(tracee: Tracee, way: WayBack, name: str, *arguments: int) -> int:
    """Run one system call in a stopped thread; return its result, raise OSError with its error.

    Raises TargetGone when the thread dies of something else, CannotMap when it runs something else.

    Whenever we are killed meanwhile, the thread finds its way back: its registers lead there before
    its signals are blocked, and until they are no more.
    """
    machine = tracee.machine
    tid = tracee.tid
    # What the caller is about to change is not written yet, and must not be lost.
    intended, changed = bytes(tracee.buffer), tracee.registers.changed
    registers = tracee.load()
    kept = bytes(tracee.buffer)
    mask = ptrace.signal_mask(tid)
    of_event = ptrace.signal_info(tid).of_event
    onward = _onward(tracee)
    if not way.stands():
        raise _astray(tracee)
    if onward[machine.ip] != registers[machine.ip] and registers[machine.system_call] == NO_CALL:
        _take_trap(tracee, onward[machine.ip])
    try:
        led = way.prepare_call(tracee, onward, mask)
        try:
            for register, value in led.items():
                registers[register] = value
            registers[machine.call_number] = machine.calls[name]
            registers[machine.system_call] = NO_CALL
            registers[machine.flags] &= ~machine.trap_flag
            for register, value in zip(machine.call_arguments, arguments, strict=False):
                registers[register] = value & NO_CALL
            tracee.flush()
            ptrace.set_signal_mask(tid, ALL_SIGNALS)
            _run_call(tracee, name)
            result = struct.unpack("<q", struct.pack("<Q", tracee.load()[machine.result]))[0]
        finally:
            tracee.buffer[:] = kept
            _put_back(tracee, mask, onward, of_event=of_event)
            tracee.buffer[:] = intended
            registers.changed = changed
    finally:
        way.end_call()
    if -4096 < result < 0:
        raise OSError(-result, f"{name} in process {tracee.pid}: {os.strerror(-result)}")
    return int(result)


def _put_back(tracee: Tracee, mask: int, onward: dict[str, int], *, of_event: bool) -> None:
    """Give a thread its mask and then its registers, those in the buffer, after a system call."""
    machine, tid, words = tracee.machine, tracee.tid, tracee.words
    restarts = words[machine.index[machine.system_call]] != NO_CALL
    if not of_event and not restarts:
        # Nobody would see that the breakpoint was met, should we die now.
        words[tracee.ip_word] = onward[machine.ip]
    try:
        ptrace.set_signal_mask(tid, mask)
        ptrace.call(Request.SETREGS, tid, 0, tracee.words_address)
        if of_event or restarts:
            _stop_as_before(tracee)
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise


def _onward(tracee: Tracee) -> dict[str, int]:
    """Return the registers with which a thread would go on right if we left it alone now.

    In front of a breakpoint that stopped it, or of a system call that we interrupted.
    """
    machine = tracee.machine
    registers = tracee.registers.as_dict()
    if registers[machine.system_call] != NO_CALL:
        if NO_CALL + 1 - registers[machine.result] in RESTART_CODES:
            registers[machine.ip] -= len(machine.call_instruction)
            registers[machine.call_number] = registers[machine.system_call]
    elif registers[machine.ip] - tracee.skew in tracee.process.points and _at_breakpoint(tracee):
        registers[machine.ip] -= tracee.skew
    return registers


def _take_trap(tracee: Tracee, address: int) -> None:
    """Take the stop at a breakpoint, with the thread in front of it.

    Were the trap delivered when we die, its frame would lie where the call has its arguments.
    """
    tracee.registers[tracee.machine.ip] = address
    tracee.registers[tracee.machine.flags] |= tracee.machine.done_flag
    tracee.flush()
    taken, status = os.waitpid(tracee.tid, WALL | os.WNOHANG)
    if taken:
        check_end(tracee, status)


def _at_breakpoint(tracee: Tracee) -> bool:
    """Tell whether a thread stopped for a breakpoint: it may just stand one byte behind one."""
    with contextlib.suppress(OSError):
        info = ptrace.signal_info(tracee.tid)
        return info.number == signal.SIGTRAP and info.code == TrapCode.KERNEL
    return False


def _stop_as_before(tracee: Tracee) -> None:
    """Bring a thread that was stopped on its way out of a system call back to such a stop.

    From the end of our own call it would return to the program straight away, and nobody would
    restart the call that was interrupted (arch_do_signal_or_restart in arch/x86/kernel/signal.c).
    One that had stopped with its program can stay in that only from there, too.
    """
    ptrace.call(Request.INTERRUPT, tracee.tid)
    while True:
        ptrace.call(Request.CONT, tracee.tid)
        _, status = os.waitpid(tracee.tid, WALL)
        check_end(tracee, status)
        if status >> 16 == Event.STOP:
            return
        if status >> 16 == 0:
            tracee.hold(os.WSTOPSIG(status), block=False)


def check_end(tracee: Tracee, status: int) -> None:
    """Raise TargetGone when a thread ends; the engine takes the status that said so.

    Its last stop counts: a main thread is not reported as ended before all others, which may wait
    for us in theirs.
    """
    if not os.WIFSTOPPED(status) or status >> 16 == Event.EXIT:
        tracee.ended = status
        raise TargetGone(f"thread {tracee.tid} ended while it made a system call for us")


def _run_call(tracee: Tracee, name: str) -> None:
    """Run the borrowed instruction up to the end of its call, whatever else is reported meanwhile.

    Not by a single step: its trap, while the program blocks or ignores SIGTRAP, would make the
    kernel forget the program's own handler (force_sig_info in kernel/signal.c). Raises CannotMap
    where the thread runs something else: another one may overwrite the instruction at any moment.
    """
    check_prepared(tracee)
    begun = False
    while True:
        ptrace.call(Request.SYSCALL, tracee.tid)
        status = _wait_for_end(tracee) if begun else _wait_for_begin(tracee)
        check_end(tracee, status)
        number = os.WSTOPSIG(status)
        if status >> 16:
            continue
        if number == CALL_STOP:
            if begun:
                return
            begun = True
            if tracee.peek(tracee.machine.system_call) != tracee.machine.calls[name]:
                break
        elif number in FAULTS and not begun and ptrace.signal_info(tracee.tid).synchronous:
            break
        else:
            tracee.hold(number, block=False)
    raise _astray(tracee)


def _wait_for_end(tracee: Tracee) -> int:
    return os.waitpid(tracee.tid, WALL)[1]


def _wait_for_begin(tracee: Tracee) -> int:
    """Wait for the first stop after a thread was sent to a system call instruction."""
    begin = now = time.monotonic()
    while now < begin + LONGEST_WAY:
        taken, status = os.waitpid(tracee.tid, WALL | os.WNOHANG)
        if taken:
            return status
        time.sleep(0 if now < begin + SOON else SOON)
        now = time.monotonic()
    ptrace.call(Request.INTERRUPT, tracee.tid)
    check_end(tracee, _wait_for_end(tracee))
    raise _astray(tracee)


def _astray(tracee: Tracee) -> CannotMap:
    tracee.process.no_calls = "the process overwrote the code by which it makes calls for us"
    return CannotMap(tracee.process.no_calls)
