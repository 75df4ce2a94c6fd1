"""Step an instruction where it stands: the breakpoint is out meanwhile, and all others are held."""

import contextlib
import os
import time
from typing import TYPE_CHECKING

from insn import Flow
from uprobes import ptrace
from uprobes.errors import NotMapped, ProbeError
from uprobes.fatal import deliver
from uprobes.ptrace import WALL, Event, Request
from uprobes.signals import AGAIN
from uprobes.tracee import CALL_STOP, State, Tracee
from uprobes.waits import is_group_stop

if TYPE_CHECKING:
    from uprobes.engine import Engine

REST_EVERY, REST = 16, 0.0003
"""After so many steps so many seconds are left to the threads that were held."""


class InPlace:
    """Steps an engine's threads in place."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self._steps = 0

    def step(self, tracee: Tracee, address: int) -> None:
        """Execute an instruction where it stands while every other thread of the process is held.

        A system call is only followed until it has begun, so that one that waits for another thread
        does not wait for ever; its end needs no repair then.
        """
        process, step = tracee.process, tracee.step
        assert step is not None
        is_call = step.plan.instruction.flow is Flow.SYSTEM_CALL
        others = [other for other in process.tracees.values() if other is not tracee]
        others = self.engine.holding.quiesce(others)
        try:
            if tracee.state is State.GONE:
                return  # killed by one of the others, whose exec we have waited for
            onward, status = self._step_lifted(tracee, address, is_call=is_call)
            if onward is AGAIN:
                tracee.step = None
                self.engine.on_stop(tracee.tid, status)
            else:
                deliver(self.engine, tracee, onward)
        finally:
            self._let_others_run(others)

    def _let_others_run(self, others: list[Tracee]) -> None:
        """Release the threads that were held for a step in place, those that hit something first.

        Else the one that was stepped would be back before any other was looked at; and a thread
        that is held again at once does not come to run at all.
        """
        turns = self.engine.turns
        hit = [t.tid for t in others if t.pending is not None and not t.pending >> 16]
        turns.extend(tid for tid in hit if tid not in turns)
        self.engine.holding.release(others)
        self._steps += 1
        if others and self._steps % REST_EVERY == 0:
            time.sleep(REST)

    def _step_lifted(
        self, tracee: Tracee, address: int, *, is_call: bool
    ) -> tuple[int | None, int]:
        """Step with the breakpoint out; return the signal to go on with and the last wait status.

        The signal is AGAIN where the thread ended, or is about to.
        """
        process = tracee.process
        lifted = process.breakpoints.at(address) is not None
        onward: int | None = AGAIN
        status = 0
        group_stop = False
        try:
            if lifted:
                with contextlib.suppress(NotMapped):  # gone meanwhile: it faults
                    process.breakpoints.lift(address)
            while onward is AGAIN:
                tracee.flush()
                request = Request.SYSCALL if is_call else Request.SINGLESTEP
                ptrace.call(request, tracee.tid)
                _, status = os.waitpid(tracee.tid, WALL)
                if not os.WIFSTOPPED(status) or status >> 16 == Event.EXIT:
                    break
                group_stop = group_stop or is_group_stop(status)
                if os.WSTOPSIG(status) == CALL_STOP:
                    tracee.step, onward = None, 0
                else:
                    onward = self.engine.signals.advance(tracee, status)
        finally:
            if lifted:
                with contextlib.suppress(ProbeError):
                    process.breakpoints.lower(address)
        if group_stop:
            tracee.interrupt()
        return onward, status
