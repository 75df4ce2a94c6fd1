"""Signals that meet a thread inside a slot or a step: the program must see them at the probe point.

Rules:
- a fault of the copy is the instruction's own: the step is undone, addresses of the copy in the
  siginfo become the original's, and the signal is delivered;
- any other signal waits until a step is done; a boosted copy is stepped to its end first;
- an instruction that repeats (rep) is interrupted between two rounds, as the CPU would;
- signals that stop or continue the program are never held: the one would overtake the other;
- where the instruction runs again afterwards, that is the same hit: `Tracee.restarting` says so.
"""

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from insn import Fixups
from ubp import Plan, Step
from uprobes import ptrace
from uprobes.errors import ProbeError
from uprobes.fatal import deliver
from uprobes.inject import RESTART_CODES
from uprobes.patch.faults import pass_trap, tell_fault
from uprobes.ptrace import FAULTS, WALL, Event, Request, SignalInfo, TrapCode
from uprobes.status import has_handler, signal_sets
from uprobes.tracee import Tracee
from uprobes.waits import STOP_SIGNALS, is_group_stop

if TYPE_CHECKING:
    from uprobes.engine import Engine

WORD = 1 << 64
STEP_CODES = frozenset({TrapCode.TRACE, TrapCode.BREAKPOINT, TrapCode.KERNEL, TrapCode.BRANCH})
IGNORED_BY_DEFAULT = sum(
    1 << (number - 1) for number in (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH)
)
"""Signals that do nothing unless they are handled (signal(7))."""
JOB_CONTROL = STOP_SIGNALS | {signal.SIGCONT}
AGAIN = None
"""What `advance` gives for: step once more."""


class Signals:
    """Takes signal stops, and the stops of threads that are being stepped."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine

    def on_signal(self, tracee: Tracee, number: int) -> None:
        """Take a signal that a running thread is about to get, and let it have it."""
        tracee.load()
        self.note_restart(tracee, number)
        if is_ignored(tracee.tid, number):
            # Where nobody traces, the kernel does not even keep it (sig_ignored, kernel/signal.c).
            self._wait_again(tracee)
        process = tracee.process
        ip = tracee.registers[process.machine.ip]
        if process.holds(ip):
            if number in FAULTS and (info := ptrace.signal_info(tracee.tid)).synchronous:
                self._fault_in_copy(tracee, ip, info)
            elif number in JOB_CONTROL:
                self.leave_slot(tracee, undo=True)
            else:
                tracee.hold(number)
                self.leave_slot(tracee)
                number = tracee.take_held()
        elif number in FAULTS and process.every_installed:
            tell_fault(self.engine, tracee, number)
        deliver(self.engine, tracee, number)

    def _fault_in_copy(self, tracee: Tracee, ip: int, info: SignalInfo) -> None:
        process = tracee.process
        plan = process.plan_at(ip)
        original = process.original_of(ip)
        if original is None or plan is None or plan.copy is None:
            return
        if info.address == ip:
            ptrace.set_signal_info(tracee.tid, info.at(original))
        tracee.registers[process.machine.ip] = original
        if ip == plan.copy.address:
            tracee.restart()

    def leave_slot(self, tracee: Tracee, *, undo: bool = False) -> None:
        """Bring a stopped thread, its registers loaded, out of any slot to the original code.

        With `undo` it is not stepped for that: the instruction runs again if it had not run.
        """
        process = tracee.process
        ip_name = process.machine.ip
        ip = tracee.registers[ip_name]
        plan = process.plan_at(ip)
        if plan is not None and plan.copy is not None and plan.copy.address == ip:
            if undo or Fixups.REPEATS in plan.fixups:
                tracee.registers[ip_name] = plan.instruction.address
                tracee.restart()
                return
            self._finish_copy(tracee, plan)
            ip = tracee.registers[ip_name]
        original = process.original_of(ip)
        if original is not None:
            tracee.registers[ip_name] = original

    def _finish_copy(self, tracee: Tracee, plan: Plan) -> None:
        """Step a boosted copy that has not run yet; a fault of it leaves the thread at the probe
        point.
        """
        process, registers = tracee.process, tracee.registers
        flags = registers[process.machine.flags]
        group_stop = False
        while True:
            tracee.flush()
            ptrace.call(Request.SINGLESTEP, tracee.tid)
            _, status = os.waitpid(tracee.tid, WALL)
            if not os.WIFSTOPPED(status):
                self.engine.on_stop(tracee.tid, status)
                return
            registers = tracee.load()
            number = os.WSTOPSIG(status)
            if status >> 16:
                if status >> 16 == Event.EXIT:
                    return
                group_stop = group_stop or is_group_stop(status)
                continue
            info = ptrace.signal_info(tracee.tid)
            if number == signal.SIGTRAP and info.code in STEP_CODES:
                break
            tracee.hold(number)
            if info.synchronous:
                return
        if group_stop:
            tracee.interrupt()
        process.stepper.repair_in_place(plan, flags, registers, process.memory)

    def advance(self, tracee: Tracee, status: int) -> int | None:
        """Take a stop inside a step: AGAIN, or the signal (0 for none) with which the thread goes
        on.
        """
        process, step = tracee.process, tracee.step
        assert step is not None
        number = os.WSTOPSIG(status)
        if status >> 16:
            return AGAIN
        registers = tracee.load()
        if number == signal.SIGTRAP and ptrace.signal_code(tracee.tid) in STEP_CODES:
            # A program that steps itself expects a trap here, but behind a system call one
            # instruction later, from the flags that are loaded again.
            own = bool(step.flags & tracee.trap_flag) and Fixups.SYSTEM_CALL not in step.plan.fixups
            if not process.stepper.after_step(step, registers, process.memory):
                if not own:
                    return AGAIN
                self._abort(tracee, step)
            tracee.step = None
            if own:
                info = ptrace.signal_info(tracee.tid)
                tracee.hold_trap(info.trap(registers[process.machine.ip]))
            return tracee.take_held()
        info = ptrace.signal_info(tracee.tid)
        if info.synchronous:
            self._fault_in_step(tracee, step, info)
            return number
        fixups = step.plan.fixups
        if Fixups.REPEATS in fixups:
            self._abort(tracee, step)
            return number
        if Fixups.SYSTEM_CALL in fixups or number in JOB_CONTROL:
            self._interrupt(tracee, step, number)
            return number
        tracee.hold(number)
        return AGAIN

    def on_own_trap(self, tracee: Tracee) -> None:
        """Take a trap of no breakpoint: the program may step itself, also through our code."""
        ours = tracee.steps_itself and (
            tracee.registers[tracee.machine.ip] in tracee.process.internal
            or pass_trap(self.engine, tracee)
        )
        if ours or self.is_stray(tracee):
            tracee.resume()
        else:
            self.on_signal(tracee, signal.SIGTRAP)

    def is_stray(self, tracee: Tracee) -> bool:
        """Tell whether a trap ends a step that a dead tracer began: what its guard would forget."""
        maker = tracee.machine.traps_made_by.get(ptrace.signal_code(tracee.tid))
        if maker is None or tracee.steps_itself:
            return False
        with contextlib.suppress(ProbeError):
            before = tracee.process.breakpoints.read(tracee.words[tracee.ip_word] - 1, 1)
            return before[0] != maker
        return True

    def on_internal(self, tracee: Tracee, take: Callable[[Tracee], bool]) -> None:
        """Have a trap of ours taken, and give the program the one that it may expect behind it."""
        if not take(tracee):
            self.on_signal(tracee, signal.SIGTRAP)
        elif tracee.deferred:
            self.engine.sleeping.park(tracee)
        elif tracee.steps_itself:
            self.trap_itself(tracee)
        else:
            tracee.resume()

    def trap_itself(self, tracee: Tracee) -> None:
        """Give a program that steps itself the trap that it expects here."""
        info = ptrace.signal_info(tracee.tid).trap(tracee.registers[tracee.machine.ip])
        tracee.hold_trap(info)
        deliver(self.engine, tracee, tracee.take_held())

    def _interrupt(self, tracee: Tracee, step: Step, number: int) -> None:
        """Let a signal into a step: a system call may have been waiting for just that."""
        process, registers = tracee.process, tracee.registers
        copy = step.plan.copy
        start = step.plan.instruction.address if copy is None else copy.address
        if registers[process.machine.ip] == start:
            self._abort(tracee, step)
            return
        process.stepper.after_step(step, registers, process.memory)
        tracee.step = None
        self.note_restart(tracee, number)

    def note_restart(self, tracee: Tracee, number: int = 0) -> None:
        """Note that the kernel is about to repeat a probed system call that a stop interrupted.

        Where the signal `number` has a handler, the kernel repeats some calls and fails others, and
        we can't see which: what comes then is counted as a hit of its own.
        """
        registers, machine = tracee.registers, tracee.machine
        if WORD - registers[machine.result] not in RESTART_CODES:
            return
        address = registers[machine.ip] - len(machine.call_instruction)
        if address in tracee.process.points and not (number and has_handler(tracee.tid, number)):
            tracee.restart_call(address)

    def restart_call(self, tracee: Tracee) -> None:
        """Undo what a stop of ours did to a system call that can't be restarted by the kernel.

        epoll_wait and some others return EINTR when a tracer stops the thread, although no signal
        came (signal(7), "Interruption of system calls by stop signals"); without us they would have
        gone on waiting.
        """
        tracee.load()
        self.note_restart(tracee)
        self._wait_again(tracee)

    def leave_call(self, tracee: Tracee, status: int) -> None:
        """Undo the same for a thread that is let go at the stop that it reported last."""
        if status >> 16 == Event.STOP:
            if tracee.interrupted and not is_group_stop(status):
                self.restart_call(tracee)
        elif status and not status >> 16 and is_ignored(tracee.tid, os.WSTOPSIG(status)):
            tracee.load()
            self._wait_again(tracee)

    def _wait_again(self, tracee: Tracee) -> None:
        """Begin a system call anew that was interrupted by what the program does not notice."""
        registers, machine = tracee.registers, tracee.machine
        number = registers[machine.system_call]
        if number not in machine.interrupted or WORD - registers[machine.result] != errno.EINTR:
            return
        if signals_pending(tracee.tid):
            return
        registers[machine.result] = number
        registers[machine.ip] -= len(machine.call_instruction)

    def find_lost_trap(self, tracee: Tracee) -> None:
        """Make up for a trap that the program took from a thread that we interrupted.

        Whoever sets SIGTRAP to be ignored drops the traps of all threads that have not been
        reported yet (do_sigaction in kernel/signal.c).
        """
        process, registers = tracee.process, tracee.registers
        ip, step = registers[process.machine.ip], tracee.step
        if step is None:
            point = process.points.get(ip - tracee.skew)
            if point is not None and not point.short and not trap_waits(tracee.tid):
                registers[process.machine.ip] = point.address
        elif (
            step.plan.copy is not None
            and ip != step.plan.copy.address
            and Fixups.SYSTEM_CALL not in step.plan.fixups
            and not trap_waits(tracee.tid)
            and process.stepper.after_step(step, registers, process.memory)
        ):
            tracee.step = None

    def give_up_step(self, tracee: Tracee) -> None:
        """End a step of a stopped thread now, done or not done, so that it can run without us."""
        process, step = tracee.process, tracee.step
        assert step is not None
        copy = step.plan.copy
        start = step.plan.instruction.address if copy is None else copy.address
        status = tracee.pending or 0
        info = None if status >> 16 else ptrace.signal_info(tracee.tid)
        if info is not None and info.number == signal.SIGTRAP and info.code in STEP_CODES:
            tracee.pending = None
        if tracee.registers[process.machine.ip] != start:
            process.stepper.after_step(step, tracee.registers, process.memory)
            tracee.step = None
        elif info is not None and info.synchronous:
            self._fault_in_step(tracee, step, info)
        else:
            self._abort(tracee, step)

    def _fault_in_step(self, tracee: Tracee, step: Step, info: SignalInfo) -> None:
        ip = tracee.registers[tracee.machine.ip]
        if info.address == ip:
            ptrace.set_signal_info(tracee.tid, info.at(step.plan.instruction.address))
        self._abort(tracee, step)

    def _abort(self, tracee: Tracee, step: Step) -> None:
        tracee.process.stepper.abort_step(step, tracee.registers)
        tracee.step = None
        tracee.restart()


def signals_pending(tid: int) -> bool:
    """Tell whether a signal that is not blocked, and that is not ignored, waits for a thread."""
    masks = signal_sets(tid)
    waiting = masks.get("SigPnd", 0) | masks.get("ShdPnd", 0)
    return bool(waiting & ~masks.get("SigBlk", 0) & ~_ignored(masks))


def is_ignored(tid: int, number: int) -> bool:
    """Tell whether the program notices nothing of a signal, by its will or by default."""
    return bool(_ignored(signal_sets(tid)) >> (number - 1) & 1)


def _ignored(masks: Mapping[str, int]) -> int:
    return masks.get("SigIgn", 0) | IGNORED_BY_DEFAULT & ~masks.get("SigCgt", 0)


def trap_waits(tid: int) -> bool:
    """Tell whether a trap waits for a thread to take notice of it."""
    return bool(signal_sets(tid).get("SigPnd", 0) >> (signal.SIGTRAP - 1) & 1)
