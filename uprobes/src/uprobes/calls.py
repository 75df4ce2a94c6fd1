"""Which exit belongs to which entry, for calls that are followed without touching the stack.

Rules:
- a call is known by where its return address lies: at the entry and at the return instruction the
  stack pointer leads there;
- the stacks of goroutines move when they grow. Their calls are known by the goroutine and by the
  distance from the upper end of its stack, which is what stays (runtime/stack.go, `copystack`);
- a call is `unwound` when a call from the same place is entered, or one further up returns: a panic
  or a jump went past it. It may take until then to be noticed;
- an exit without a known entry (it began before the probe, or was filtered) is not reported.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uprobes.errors import ProbeError
from uprobes.hit import Hit, Outcome, Return

if TYPE_CHECKING:
    from uprobes.probe import Uretprobe
    from uprobes.process import Process
    from uprobes.tracee import Tracee

WORD = 8


@dataclass(frozen=True, slots=True)
class Call:
    """One call under way: how far down its stack it is, when it began, what was saved then."""

    depth: int
    started_ns: int
    saved: object


class Calls:
    """The calls under way of one return probe, in every process that has it."""

    def __init__(self, probe: "Uretprobe") -> None:
        self.probe = probe
        self._stacks: dict[tuple[int, int], list[Call]] = {}
        """By process and stack, the deepest last."""

    def enter(self, hit: Hit, saved: object) -> None:
        """Begin a call whose function was entered just now; end those that it shows to be dead."""
        owner, depth = place_of(hit, go=self.probe.location.exits_only)
        stack = self._stacks.setdefault((hit.process.pid, owner), [])
        while stack and stack[-1].depth >= depth:
            self._end(stack.pop(), hit.tracee, Outcome.UNWOUND)
        stack.append(Call(depth, time.perf_counter_ns(), saved))

    def leave(self, hit: Hit) -> None:
        """End the call that is about to return, its value in place."""
        now = time.perf_counter_ns()
        owner, depth = place_of(hit, go=self.probe.location.exits_only)
        key = hit.process.pid, owner
        stack = self._stacks.get(key, [])
        while stack and stack[-1].depth > depth:
            self._end(stack.pop(), hit.tracee, Outcome.UNWOUND)
        call = stack.pop() if stack and stack[-1].depth == depth else None
        if not stack:
            self._stacks.pop(key, None)
        if call is not None:
            self._end(call, hit.tracee, Outcome.RETURNED, now)

    def lose(self, tracee: "Tracee") -> None:
        """End every call of a process whose memory is gone; `tracee` was its last thread."""
        for key in [key for key in self._stacks if key[0] == tracee.process.pid]:
            for call in reversed(self._stacks.pop(key)):
                self._end(call, tracee, Outcome.LOST)

    def forget(self) -> None:
        """Let the calls under way end unreported: the probe was unregistered."""
        self._stacks.clear()

    def _end(self, call: Call, tracee: "Tracee", outcome: Outcome, now: int = 0) -> None:
        value = tracee.registers[tracee.machine.result] if outcome is Outcome.RETURNED else 0
        elapsed = (now or time.perf_counter_ns()) - call.started_ns
        self.probe.finish(Return(tracee, self.probe, value, call.saved, elapsed, outcome))


def lose_calls(process: "Process", tracee: "Tracee") -> None:
    """End the calls under way of all return probes of a process: its memory is gone."""
    from uprobes.probe import Uretprobe

    for point in process.points.values():
        for probe in point.every:
            if isinstance(probe, Uretprobe):
                probe.calls.lose(tracee)


def place_of(hit: Hit, *, go: bool) -> tuple[int, int]:
    """Say which stack a thread uses that stands at an entry or an exit, and how far down it is.

    Where no goroutine runs, each place on the stack counts as one of its own.
    """
    machine, registers = hit.tracee.machine, hit.registers
    sp = registers[machine.sp]
    if not go:
        return sp, 0
    at = registers[machine.thread_pointer] + machine.goroutine
    try:
        goroutine = hit.memory.word(at, WORD)
        bounds = hit.memory.read(goroutine, 2 * WORD)
    except ProbeError:
        return sp, 0
    low, high = (int.from_bytes(bounds[i : i + WORD], "little") for i in (0, WORD))
    return (goroutine, high - sp) if low < sp <= high else (sp, 0)
