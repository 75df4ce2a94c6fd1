"""The event loop: every stop of every tracee is taken here and handed to what deals with it.

Rules:
- the usual stop (a breakpoint, one stop, go on at a known address) is dealt with in `run` itself,
  with as few system calls as can be; everything else goes through `on_stop`;
- a stopped thread is either resumed by the code that took its stop, or `State.STOPPED` and resumed
  by `Holding.release`.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Collection

from insn import InsnError, Method
from uprobes import ptrace, waits
from uprobes.arming import Arming
from uprobes.errors import ProbeError, TargetGone
from uprobes.execution import Execution
from uprobes.fatal import deliver
from uprobes.hit import Hit
from uprobes.holding import Holding
from uprobes.leaving import Leaving
from uprobes.lifetimes import Lifetimes
from uprobes.machine import Machine
from uprobes.patch.faults import past_program
from uprobes.patch.installer import Installer
from uprobes.placement import Placement
from uprobes.point import ProbePoint
from uprobes.probe import Probe
from uprobes.process import Process
from uprobes.ptrace import CODE_WORD, Event, Request, TrapCode
from uprobes.signals import AGAIN, Signals
from uprobes.sleeping import Sleeping
from uprobes.tracee import BREAK_STATUS, CALL_STOP, State, Tracee
from uprobes.waits import (
    CLD_TRAPPED,
    P_ALL,
    PEEK_FLAGS,
    PEEKED_CODE,
    PEEKED_STATUS,
    PEEKED_TID,
    POLL_FLAGS,
    STOP_SIGNALS,
)

TIMED_EVERY = 16
"""One hit in so many is timed."""
LOOKED_EVERY = 64 * TIMED_EVERY
"""At one hit in so many we look whether the guard is in place, whatever the hit looks like."""


class Engine:
    """All tracees of one target, and what happens at their stops; lives in the tracing thread.

    `obey` does the work that others handed over, as long as `waiting` holds any. `failed` gets what
    handlers raise, `on_exit` the wait status of each process that ended, `on_exec` each process
    that became another program with the probes it lost. `call` has something done in the tracing
    thread, from another one.
    """

    def __init__(
        self,
        machine: Machine,
        obey: Callable[[], None],
        waiting: Collection[object],
        failed: Callable[[Probe, Exception], None],
        on_exit: Callable[[int, int], None],
        on_exec: Callable[[Process, list[Probe]], None],
        call: Callable[[Callable[[], None]], None],
    ) -> None:
        self.machine = machine
        self.tracees: dict[int, Tracee] = {}
        self.processes: dict[int, Process] = {}
        self.failed = failed
        self.on_exit = on_exit
        self.on_exec = on_exec
        self.current: Tracee | None = None
        """The thread whose hit is being handled: it is stopped, whatever its state says."""
        self.follow_forks = False
        self.may_follow: Callable[[int, int], bool] = lambda _pid, _parent: True
        """Whether a child, given with its parent, may be followed where forks are."""
        self.finished = False
        self.turns: deque[int] = deque()  # looked at first; the kernel prefers young threads
        self.lifetimes = Lifetimes(self)
        self.signals = Signals(self)
        self.arming = Arming(self)
        self.holding = Holding(self)
        self.leaving = Leaving(self)
        self.installer = Installer(self)
        self.execution = Execution(self)
        self.execute = self.execution.execute
        self.sleeping = Sleeping(self, call)
        self.placement = Placement(self.tracees, TIMED_EVERY)
        self._obey = obey
        self._waiting = waiting

    # -- the loop -----------------------------------------------------------------------------

    def run(self) -> None:
        """Take stops until there is nothing left to trace, or `finished` is set."""
        while True:
            try:
                self._take_stops()
                return
            except (ProcessLookupError, TargetGone):
                # Killed while we looked at it: the status that says so is on its way, or kept.
                self.current = None
                self._take_ends()

    def _take_ends(self) -> None:
        for tracee in [t for t in self.tracees.values() if t.ended is not None]:
            status, tracee.ended = tracee.ended, None
            if status is not None:
                self.on_stop(tracee.tid, status)

    def _take_stops(self) -> None:
        tracees, waiting, turns = self.tracees, self._waiting, self.turns
        stop, siginfo = ((ctypes.c_int * (ptrace.SIGINFO_SIZE // 4))() for _ in range(2))
        getsiginfo, by_kernel = int(Request.GETSIGINFO), int(TrapCode.KERNEL)
        peek, request, one = waits.peek, ptrace.request, waits.P_PID
        clock, references = time.perf_counter_ns, sys.getrefcount
        getregs, pokeuser, cont = int(Request.GETREGS), int(Request.POKEUSER), int(Request.CONT)
        getsigmask, mask = int(Request.GETSIGMASK), (ctypes.c_uint64 * 1)()
        unseen_mask, unseen = self.machine.blocked_unseen
        done_flag = self.machine.done_flag
        placement = self.placement
        trap = int(signal.SIGTRAP)
        turn = 0
        while not self.finished:
            if waiting:
                self._obey()
                continue
            if not tracees:
                break
            if not turns or peek(one, turns.popleft(), stop, POLL_FLAGS) or not stop[PEEKED_TID]:
                polls = placement.polls
                while polls and (peek(P_ALL, 0, stop, POLL_FLAGS) or not stop[PEEKED_TID]):
                    polls -= 1
                if not polls and peek(P_ALL, 0, stop, PEEK_FLAGS):
                    continue
            tid = stop[PEEKED_TID]
            tracee = tracees.get(tid)
            if (
                stop[PEEKED_STATUS] != trap
                or stop[PEEKED_CODE] != CLD_TRAPPED
                or tracee is None
                or tracee.step is not None
            ):
                code, status = stop[PEEKED_CODE], stop[PEEKED_STATUS]
                leave_end = code in waits.ENDS and self.lifetimes.leaves_end(tid)
                with contextlib.suppress(ProcessLookupError):
                    self.on_stop(tid, waits.take(tid, code, status, leave_end=leave_end))
                continue
            turn += 1
            begun = 0 if turn % TIMED_EVERY else clock()
            if request(getregs, tid, 0, tracee.area) < 0:
                continue
            # Asked at each hit only where it is known to happen, or where that costs little.
            if (
                (begun or tracee.unasked or tracee.process.loses_guard or not placement.dense)
                and request(getsigmask, tid, 8, mask) == 0
                and (mask[0] & unseen_mask == unseen or not turn % LOOKED_EVERY)
            ):
                self._keep_guard(tracee, mask[0])
            tracee.unasked = False
            words, ip_word = tracee.words, tracee.ip_word
            address = words[ip_word] - tracee.skew
            point = tracee.process.points.get(address)
            if (
                point is None
                or (plan := point.plan) is None
                or tracee.restarting is not None
                or (
                    point.short
                    and (
                        request(getsiginfo, tid, 0, siginfo) < 0 or siginfo[CODE_WORD] != by_kernel
                    )
                )
            ):
                self.on_stop(tid, BREAK_STATUS, loaded=True)
                continue
            words[ip_word] = address
            self.current = tracee
            for probe in point.probes:
                probe.hits += 1
                handler = probe.handler
                if handler is not None:
                    if (hit := tracee.spare) is None:
                        hit = tracee.spare = Hit(tracee, probe)
                    else:
                        hit.probe = probe
                    try:
                        handler(hit)
                    except Exception as error:
                        self.failed(probe, error)
                    # Three are ours: `hit`, `spare` and the argument of this very call.
                    if references(hit) > 3:
                        hit.keep()
                        tracee.spare = None
            # From here on it may run: `quiesce` must not take it for stopped.
            self.current = None
            if tracee.registers.changed or words[tracee.flags_word] & tracee.trap_flag:
                self.execute(tracee, point, plan)
            elif (onward := point.onward) is not None:
                request(pokeuser, tid, tracee.ip_offset, onward)
                request(cont, tid, 0, 0)
            elif plan.emulate is None or tracee.state is State.GONE:
                self.execute(tracee, point, plan)
            else:
                try:
                    plan.emulate(tracee.registers, tracee.operands)
                except (ProbeError, InsnError):
                    self.execute(tracee, point, plan)
                else:
                    words[tracee.flags_word] |= done_flag
                    tracee.resume()
            if begun:
                point.time_ns += clock() - begun
                point.timed += 1
                placement.review(begun)

    # -- stops --------------------------------------------------------------------------------

    def on_stop(self, tid: int, status: int, *, loaded: bool = False) -> None:
        """Take any stop or end of a thread; `loaded` says that its registers are those of now."""
        tracee = self.tracees.get(tid)
        if not os.WIFSTOPPED(status):
            self.lifetimes.on_end(tid, tracee, status)
            return
        try:
            if tracee is None:
                tracee = self.lifetimes.adopt(tid)
                if tracee is None:
                    return
            tracee.state, tracee.vforking = State.STOPPED, False
            event, number = status >> 16, os.WSTOPSIG(status)
            if event == Event.STOP:
                if number in STOP_SIGNALS and ptrace.stopped_with_group(tid):
                    tracee.interrupted = False
                    tracee.listen()
                else:
                    if tracee.interrupted:
                        tracee.interrupted = False
                        self.signals.restart_call(tracee)
                        self.signals.find_lost_trap(tracee)
                    self.go_on(tracee)
            elif event:
                self.lifetimes.on_event(tracee, Event(event))
            elif tracee.step is not None:
                self._keep_guard(tracee)
                onward = self.signals.advance(tracee, status)
                if onward is AGAIN:
                    tracee.resume(step=True)
                else:
                    deliver(self, tracee, onward)
            elif number == signal.SIGTRAP:
                if not loaded:
                    self._keep_guard(tracee)
                    tracee.load()
                self._on_trap(tracee)
            elif number == CALL_STOP:
                tracee.resume()
            else:
                self.signals.on_signal(tracee, number)
        except (ProcessLookupError, TargetGone):
            self._take_ends()  # killed while we looked at it, as in `run`

    def _on_trap(self, tracee: Tracee) -> None:
        """Take a SIGTRAP of a running thread: a hit, a return, or the program's own trap."""
        process, registers, machine = tracee.process, tracee.registers, tracee.machine
        address = registers[machine.ip] - machine.breakpoint_skew
        point = process.points.get(address)
        internal = process.internal.get(address)
        if point is not None and not point.short:
            self.hit(tracee, point)
            return
        if ptrace.signal_code(tracee.tid) != TrapCode.KERNEL:
            self.signals.on_own_trap(tracee)
        elif internal is not None:
            self.signals.on_internal(tracee, internal)
        elif point is not None:
            self.hit(tracee, point)
        elif process.breakpoints.stands(address) is False:
            # Removed between the trap and our seeing it: run what stands there now.
            registers[machine.ip] = address
            tracee.resume()
        else:
            self.signals.on_signal(tracee, signal.SIGTRAP)

    def _keep_guard(self, tracee: Tracee, asked: int | None = None) -> None:
        """Look after the guard where it may be gone; `asked` is the signal mask of the thread."""
        if asked is None and self.placement.dense and not tracee.process.loses_guard:
            return  # `run` asks now and then
        mask, unseen = self.machine.blocked_unseen
        with contextlib.suppress(OSError, ProbeError):
            blocked = ptrace.signal_mask(tracee.tid) if asked is None else asked
            if blocked & mask == unseen:
                tracee.opened = blocked
            if blocked & mask == unseen or asked is not None:
                tracee.process.keep_guard(tracee)

    def hit(self, tracee: Tracee, point: ProbePoint) -> None:
        """Run the handlers of a hit and set the thread on its way."""
        begun = time.perf_counter_ns()
        first = point.plan is None
        if first and tracee.process.wants_reclaim:
            self.holding.reclaim(tracee.process, tracee)
            if tracee.state is State.GONE:
                return
        registers, machine = tracee.registers, tracee.machine
        try:
            plan = point.plan or tracee.process.plan(point, tracee)
        except TargetGone:
            raise
        except (ProbeError, InsnError) as error:
            self.execution.give_up(tracee, point, error)
            return
        registers[machine.ip] = point.address
        registers.changed = 0
        if not tracee.restarts():
            self.current = tracee
            for probe in point.probes:
                probe.hits += 1
                if probe.handler is not None:
                    hit = Hit(tracee, probe)
                    try:
                        probe.handler(hit)
                    except Exception as error:
                        self.failed(probe, error)
                    if sys.getrefcount(hit) > 2:
                        hit.keep()
            self.current = None
        elif plan.method is Method.TRAP:
            plan = past_program(tracee.process, plan)
        self.execute(tracee, point, plan)
        if not first:
            point.time_ns += time.perf_counter_ns() - begun
            point.timed += 1

    def go_on(self, tracee: Tracee) -> None:
        """Let a thread stopped by an event go on with what it was doing: running, or a step under
        way.
        """
        tracee.resume(step=tracee.step is not None)
