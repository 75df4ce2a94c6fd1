"""Probes as the user holds them, and the probe points that carry them."""

import ctypes
import enum
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

import ssol
from insn import Instruction, Method, Reason, Verdict
from uprobes.calls import Calls
from uprobes.errors import Overwritten, ProbeError
from uprobes.hit import Hit, Return
from uprobes.location import Location
from uprobes.methods import NEEDS_TRACER, choose, preference

if TYPE_CHECKING:
    from ubp import Plan
    from uprobes.maps import Mapping
    from uprobes.process import Process

Handler = Callable[[Any], object]


class ProbeState(enum.StrEnum):
    """Where a probe stands."""

    UNREGISTERED = "unregistered"
    PENDING = "pending"
    ARMED = "armed"
    PAUSED = "paused"
    DISABLED = "disabled"
    REFUSED = "refused"
    GONE = "gone"


REGISTERED = frozenset(
    (ProbeState.ARMED, ProbeState.PAUSED, ProbeState.PENDING, ProbeState.DISABLED)
)


class Probe:
    """What `Uprobe` and `Uretprobe` have in common: a place, a handler, and counts.

    `vaddr` is a run-time address, or a spec such as `libc:malloc`. `method` forces one way of
    executing the instruction, `forbid` rules some out. `where` lets only some hits reach the
    handler. An object may be registered again as soon as it is unregistered; its counts go on.
    `sleeps` says that the handler may take its time: it runs in a thread of its own, after those of
    other probes at the place, and only the thread that hit waits for it.
    """

    returns = False
    comes_last = False
    """Whether it runs after the other probes at its place."""

    def __init__(
        self,
        pid: int | None = None,
        vaddr: int | str = 0,
        handler: Handler | None = None,
        *,
        where: Callable[[Hit], object] | None = None,
        method: Method | str | None = None,
        forbid: Collection[Method | str] = (),
        sleeps: bool = False,
    ) -> None:
        self.pid = pid
        self.vaddr = vaddr
        self.user_handler = handler
        self.where = where
        self.sleeps = sleeps
        self.wanted = None if method is None else Method(method)
        self.forbidden = frozenset(Method(m) for m in forbid)
        self.state = ProbeState.UNREGISTERED
        self.location = _nowhere(vaddr)
        self.point: ProbePoint | None = None
        self.former: frozenset[int] = frozenset()
        """The addresses at which it was before it went to another place."""
        self.error: ProbeError | None = None
        self.hits = 0
        self.misses = 0
        self.filtered = 0
        self.handler: Handler | None = None
        self.failed: Callable[[Probe, Exception], None] = _unhandled
        """What the engine does when the handler raises."""
        self._bind()

    def _bind(self) -> None:
        """Choose what the engine calls at a hit: nothing at all where counting is enough."""
        plain = self.where is None and not self.sleeps
        self.handler = self.user_handler if plain else self._filter

    def _filter(self, hit: Hit) -> None:
        if self.where is not None and not self.where(hit):
            self.filtered += 1
            self.hits -= 1
        else:
            self._handle(hit)

    def _handle(self, hit: Hit) -> None:
        """Run the user's handler, here or in a thread of its own."""
        if self.user_handler is None:
            return
        if self.sleeps:
            hit.defer(self.user_handler)
        else:
            self.user_handler(hit)

    @property
    def spec(self) -> str:
        """How the place was asked for."""
        return self.vaddr if isinstance(self.vaddr, str) else f"va:{self.vaddr:#x}"

    @property
    def address(self) -> int:
        """The run-time address of the probe point."""
        return self.location.address

    @property
    def registered(self) -> bool:
        """Whether the probe is in, or will be as soon as its object is mapped."""
        return self.state in REGISTERED

    @property
    def armed(self) -> bool:
        """Whether the breakpoint is in."""
        return self.state is ProbeState.ARMED

    def belongs_to(self, process: "Process") -> bool:
        """Tell whether it was registered in a process, not copied into it by a fork."""
        return self.point is not None and self.point.process is process

    @property
    def verdict(self) -> Verdict | None:
        """What may be done with the instruction, None before the probe was armed."""
        return None if self.point is None else self.point.verdict

    @property
    def instruction(self) -> Instruction | None:
        """The instruction under the probe, None before the probe was armed."""
        return None if self.point is None else self.point.verdict.instruction

    @property
    def method(self) -> Method | None:
        """How the instruction is executed at a hit, None before the probe was armed."""
        return None if self.point is None else self.point.method

    @property
    def why_not(self) -> dict[Method, Reason]:
        """Why no cheaper method than `method` is used."""
        return {} if self.point is None else self.point.why_not()

    @property
    def cost_ns(self) -> int | None:
        """The mean time of ours between a hit and the thread's going on, None before any was
        measured.
        """
        point = self.point
        return None if point is None or not point.timed else point.time_ns // point.timed

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec!r} {self.state} hits={self.hits}>"


class Uprobe(Probe):
    """A probe at an instruction: `handler(hit)` runs before it; without a handler hits are only
    counted.
    """


class Uretprobe(Probe):
    """A probe on a function's return: `handler(ret)` gets value, outcome and time of each call.

    `save(hit)` runs at the entry; what it gives is `ret.saved`. `entry_hits` counts entries, `hits`
    the returns. `exits` asks for probes on the return instructions instead of an exchanged return
    address, as functions of Go get in any case.
    """

    returns = True

    def __init__(
        self,
        pid: int | None = None,
        vaddr: int | str = 0,
        handler: Callable[[Return], object] | None = None,
        *,
        save: Callable[[Hit], object] | None = None,
        where: Callable[[Hit], object] | None = None,
        method: Method | str | None = None,
        forbid: Collection[Method | str] = (),
        sleeps: bool = False,
        exits: bool = False,
    ) -> None:
        self.save = save
        self.wants_exits = exits
        self.exits: tuple[Probe, ...] = ()
        """The probes on its return instructions; none where the return address is exchanged."""
        self.calls = Calls(self)
        """The calls under way that those will end."""
        self.entry_hits = 0
        self.last_miss: Exception | None = None
        """Why the last call that was missed could not be followed."""
        super().__init__(
            pid, vaddr, handler, where=where, method=method, forbid=forbid, sleeps=sleeps
        )

    def _bind(self) -> None:
        self.handler = self.enter

    def enter(self, hit: Hit) -> None:
        """Begin a call: the engine runs this at the function's entry."""
        self.hits -= 1
        self.entry_hits += 1
        if self.where is not None and not self.where(hit):
            self.filtered += 1
            return
        saved = None if self.save is None else self.save(hit)
        try:
            if self.exits:
                self.calls.enter(hit, saved)
            else:
                hit.process.open_returns(hit.tracee).enter(hit, self, saved)
        except (ProbeError, ssol.SsolError) as error:
            self.misses += 1
            self.last_miss = error

    def finish(self, ret: Return) -> None:
        """End a call: count it and hand it to the user's handler."""
        self.hits += 1
        try:
            self._handle(ret)
        except Exception as error:
            self.failed(self, error)


def in_order(probes: Iterable[Probe]) -> tuple[Probe, ...]:
    """Order the probes at one place: a function that is one return is entered before it is left."""
    return tuple(sorted(probes, key=lambda probe: probe.comes_last))


class ProbePoint:
    """One address of one process with the probes on it; made by the engine, read by everybody."""

    __slots__ = (
        "_plan",
        "_verdict",
        "address",
        "home",
        "onward",
        "paused",
        "probes",
        "process",
        "short",
        "time_ns",
        "timed",
        "unplanned",
    )

    def __init__(self, process: "Process", address: int) -> None:
        self.process = process
        self.address = address
        self.home: Mapping | None = None
        """The mapping that it was made in."""
        self.probes: tuple[Probe, ...] = ()
        """Those that a hit is for."""
        self.paused: tuple[Probe, ...] = ()
        self._plan: Plan | None = None
        self.onward: ctypes.c_ulong | None = None
        """Where a thread can simply go on after a hit, None when there is more to do."""
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
        return point

    @property
    def every(self) -> "tuple[Probe, ...]":
        """All of its probes, those that are paused included."""
        return self.probes + self.paused

    def overwritten(self, why: str, probes: Iterable[Probe]) -> None:
        """Note with its probes that the breakpoint was not there any more when it was taken out."""
        for probe in probes:
            probe.error = Overwritten(
                why,
                spec=probe.location.spec,
                address=self.address,
                hint="the program changed its own code; hits after that were not seen",
            )

    @property
    def plan(self) -> "Plan | None":
        """How the instruction is executed, None before the first hit."""
        return self._plan

    @plan.setter
    def plan(self, plan: "Plan | None") -> None:
        self._plan = plan
        resume = None if plan is None else plan.resume
        self.onward = None if resume is None else ctypes.c_ulong(resume)

    def forget_verdict(self) -> None:
        """Look at the instruction anew when it is needed: other code stands there."""
        self._verdict = None

    @property
    def verdict(self) -> Verdict:
        """The verdict on the instruction, made when first asked for."""
        if self._verdict is None:
            self._verdict = self.process.judge(self.address)
        return self._verdict

    @property
    def method(self) -> Method:
        """The method in use, or the one that the first hit will take."""
        if self.plan is not None:
            return self.plan.method
        return choose(self.verdict, self.every)[0]

    def why_not(self) -> dict[Method, Reason]:
        """Say why each method cheaper than the one in use is not used."""
        used = self.method
        reasons = {Method.JUMP: NEEDS_TRACER, Method.TRAP: NEEDS_TRACER}
        for method in preference(self.verdict):
            if method is used:
                break
            reason = self.verdict.why_not(method) or self.unplanned.get(method)
            reasons[method] = reason or Reason(
                "forbidden", "the probe forbids it, or forces another"
            )
        return reasons


def _unhandled(_probe: Probe, error: Exception) -> None:
    raise error


def _nowhere(vaddr: int | str) -> Location:
    if isinstance(vaddr, str):
        return Location(0, vaddr)
    return Location(vaddr, f"va:{vaddr:#x}")
