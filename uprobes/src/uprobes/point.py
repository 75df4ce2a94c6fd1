"""Probe points: the addresses of a process that carry probes."""

import ctypes
from collections.abc import Iterable
from typing import TYPE_CHECKING

import insn
import ubp
from insn import Method, Reason, Verdict
from uprobes.errors import NotMapped, Overwritten
from uprobes.methods import NEEDS_TRACER, choose, preference

if TYPE_CHECKING:
    from uprobes.maps import Mapping
    from uprobes.probe import Probe
    from uprobes.process import Process


class ProbePoint:
    """One address of one process with the probes on it; made by the engine, read by everybody."""

    __slots__ = (
        "_plan",
        "_verdict",
        "address",
        "code",
        "home",
        "onward",
        "paused",
        "probes",
        "process",
        "short",
        "time_ns",
        "timed",
        "trampoline",
        "unplanned",
        "used",
    )

    def __init__(self, process: "Process", address: int) -> None:
        self.process = process
        self.address = address
        self.code = b""
        """What stood there when it was made, for the time when its code is gone; may be empty where
        the verdict was made at once.
        """
        self.home: Mapping | None = None
        """The mapping that it was made in."""
        self.probes: tuple[Probe, ...] = ()
        """Those that a hit is for."""
        self.paused: tuple[Probe, ...] = ()
        self._plan: ubp.Plan | None = None
        self.used: Method | None = None
        """The method that was used last."""
        self.onward: ctypes.c_ulong | None = None
        """Where a thread can simply go on after a hit, None when there is more to do."""
        self.trampoline = 0
        """Where a thread goes on after a hit because a program runs there, 0 without one."""
        self.short = True
        """Whether a thread can stand one byte behind the address without having hit the breakpoint.
        """
        self.time_ns = 0
        self.timed = 0
        self.unplanned: dict[Method, Reason] = {}
        self._verdict: Verdict | None = None

    def copied(self, process: "Process") -> "ProbePoint":
        """Return the same for a copy of the process's memory; hits count for the same probes."""
        point = ProbePoint(process, self.address)
        point.probes, point.paused = self.probes, self.paused
        point.short, point.unplanned = self.short, self.unplanned
        point._verdict, point.plan, point.home = self._verdict, self.plan, self.home
        point.code, point.trampoline = self.code, self.trampoline
        return point

    def take_times(self, former: "ProbePoint | None") -> None:
        """Go on with what hits took at the place where a probe was before, if that is no more."""
        if former is not None and former.process.points.get(former.address) is not former:
            self.time_ns, self.timed = former.time_ns, former.timed

    @property
    def every(self) -> "tuple[Probe, ...]":
        """All of its probes, those that are paused included."""
        return self.probes + self.paused

    def overwritten(self, why: str, probes: "Iterable[Probe]") -> None:
        """Note with its probes that the breakpoint was not there any more when it was taken out."""
        for probe in probes:
            probe.error = Overwritten(
                why,
                spec=probe.location.spec,
                address=self.address,
                hint="the program changed its own code; hits after that were not seen",
            )

    @property
    def plan(self) -> ubp.Plan | None:
        """How the instruction is executed, None before the first hit."""
        return self._plan

    @plan.setter
    def plan(self, plan: ubp.Plan | None) -> None:
        self._plan = plan
        if plan is not None:
            self.used = plan.method
        resume = None if plan is None else plan.resume
        self.onward = None if resume is None else ctypes.c_ulong(resume)

    def lead(self) -> None:
        """Plan that whoever hits it is sent to its trampoline."""
        instruction = self.process.decode(self.address)
        self.plan = ubp.Plan(instruction, Method.TRAP, resume=self.trampoline)

    def forget_verdict(self) -> None:
        """Look at the instruction anew when it is needed: other code stands there."""
        self._verdict, self.code = None, b""

    @property
    def verdict(self) -> Verdict:
        """The verdict on the instruction, made when first asked for; raises NotMapped when the code
        is gone and was not kept.
        """
        if self._verdict is None:
            self._verdict = self._judge()
        return self._verdict

    def _judge(self) -> Verdict:
        process, address = self.process, self.address
        if not self.code or process.points.get(address) is self:
            try:
                return process.judge(address)
            except NotMapped:
                if not self.code:
                    raise
        return insn.judge(insn.decode(self.code, address, process.machine.arch))

    def method_of(self, probe: "Probe") -> Method:
        """Return the method in use, or the one that the first hit will take; of a probe that is out
        the one that was used.
        """
        if self.plan is not None:
            return self.plan.method
        if self.trampoline:
            return Method.TRAP
        every = self.every
        if probe in every or self.used is None:
            methods = choose(self.verdict, every if probe in every else (probe,))
            return (methods or (Method.INLINE,))[0]
        return self.used

    def why_not(self, probe: "Probe") -> dict[Method, Reason]:
        """Say why each method cheaper than the one in use is not used."""
        used = self.method_of(probe)
        reasons = {Method.JUMP: NEEDS_TRACER, Method.TRAP: NEEDS_TRACER}
        for method in preference(self.verdict):
            if method is used:
                break
            reason = self.verdict.why_not(method) or self.unplanned.get(method)
            reasons[method] = reason or Reason(
                "forbidden", "the probe forbids it, or forces another"
            )
        return reasons
