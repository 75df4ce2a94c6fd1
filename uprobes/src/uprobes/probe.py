"""Probes as the user holds them."""

import enum
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

import ssol
from insn import InsnError, Instruction, Method, Reason, Verdict
from uprobes.calls import Calls
from uprobes.errors import ProbeError
from uprobes.hit import Hit, Return
from uprobes.location import Location

if TYPE_CHECKING:
    from uprobes.point import ProbePoint
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
        """Where it is, or was last."""
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
        """What may be done with the instruction, None before the probe was armed.

        It stays when the code is gone; None as well for code that went before anybody looked.
        """
        if self.point is None:
            return None
        try:
            return self.point.verdict
        except (ProbeError, InsnError):
            return None

    @property
    def instruction(self) -> Instruction | None:
        """The instruction under the probe, None where there is no verdict."""
        verdict = self.verdict
        return None if verdict is None else verdict.instruction

    @property
    def method(self) -> Method | None:
        """How the instruction is, or was last, executed at a hit: before the first one, the method
        that it will take. None where there is no verdict.
        """
        if self.point is None or (self.point.used is None and self.verdict is None):
            return None
        return self.point.method_of(self)

    @property
    def why_not(self) -> dict[Method, Reason]:
        """Why no cheaper method than `method` is used; nothing where there is no verdict."""
        if self.point is None or self.verdict is None:
            return {}
        return self.point.why_not(self)

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


def _unhandled(_probe: Probe, error: Exception) -> None:
    raise error


def _nowhere(vaddr: int | str) -> Location:
    if isinstance(vaddr, str):
        return Location(0, vaddr)
    return Location(vaddr, f"va:{vaddr:#x}")
