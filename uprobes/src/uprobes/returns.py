"""Return probes: the return address on the stack is exchanged for a trampoline, and put back in
time.

Rules:
- an instance belongs to the place on the stack that holds the return address, not to a thread: a
  frame may return on another thread (coroutines), and frames on other stacks are never mistaken for
  dead ones; one on a stack of its own outlives the thread that began it;
- several instances on one place form a chain (several probes, tail calls): all end together;
- a program's return address may be what ours replaced, or stand over ours (tail calls): whichever
  is taken out, the other leads on to the real one;
- an instance is known to be dead (`unwound`) when a new call uses its place, when a frame above it
  on the same stack returns, or when its place no longer holds the trampoline;
- at the end the real return addresses are written back, so that nothing of ours is needed any more.
"""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from uprobes.errors import ProbeError
from uprobes.hit import Hit, Outcome, Return
from uprobes.maps import Mapping, mapping_at
from uprobes.tracee import Tracee

if TYPE_CHECKING:
    from uprobes.probe import Uretprobe
    from uprobes.process import Process

SLOP = 1 << 16
"""The most bytes of arguments that a callee pops (`ret imm16`)."""


@dataclass(slots=True)
class ReturnInstance:
    """One call under way of one return-probed function."""

    probe: "Uretprobe"
    tid: int
    started_ns: int
    saved: object


@dataclass(slots=True)
class Frame:
    """The instances that wait for one return address, which `place` on the stack held before."""

    place: int
    original: int
    tid: int
    instances: list[ReturnInstance] = field(default_factory=list)
    elsewhere: bool = False
    """Whether it came with a fork, on a stack of another thread: it need not end at all."""
    exposed: bool = False
    """Whether the real return address stands there again: see `unwinding`."""


NOBODY = 0
"""Whose calls are that wait on a stack which no thread is known to use."""


class Returns:
    """The return instances of one process; `report` gets each finished one with the probe that
    waits for it.
    """

    def __init__(self, process: "Process", trampoline: int) -> None:
        self.process = process
        self.trampoline = trampoline
        self.frames: dict[int, Frame] = {}
        self.by_thread: dict[int, list[int]] = {}
        self._seen: set[int] = set()
        """Return addresses that were found to be code."""

    def copied(self, process: "Process", tid: int) -> "Returns":
        """Return the same for a copy of the process's memory, in which `tid` is the only thread."""
        copy = Returns(process, self.trampoline)
        stack = self._own_stack(process.tracees[tid], process)
        for place, frame in self.frames.items():
            mine = stack is None or stack.start <= place < stack.end
            instances, owner = list(frame.instances), tid if mine else NOBODY
            copy.frames[place] = Frame(place, frame.original, owner, instances, elsewhere=not mine)
            copy.by_thread.setdefault(owner, []).append(place)
        return copy

    def enter(self, hit: Hit, probe: "Uretprobe", saved: object) -> None:
        """Take over the return address of the function that `hit` has just entered; raises
        NotMapped.
        """
        process, tracee = self.process, hit.tracee
        if any(start <= hit.address < end for start, end in process.unwinders):
            raise ProbeError(
                "the function walks the stack, its own return address included",
                address=hit.address,
                code="unwinder",
            )
        size = process.machine.arch.pointer_size
        place = tracee.registers[process.machine.sp]
        held = process.memory.word(place, size)
        frame = self.frames.get(place)
        if held == self.trampoline:
            if frame is None:
                raise ProbeError(
                    "the return address is our trampoline, but no call is known to wait there",
                    address=place,
                    code="lost-frame",
                )
        else:
            if frame is not None and not self._leads_here(place, held):
                self._end(frame, tracee, Outcome.UNWOUND)
                frame = None
            if frame is None:
                self._check(held, place)
                if process.guard is not None:
                    process.guard.cover_frame(place, held)
                process.memory.write(place, self.trampoline.to_bytes(size, "little"))
                frame = self.frames[place] = Frame(place, held, tracee.tid)
                self.by_thread.setdefault(tracee.tid, []).append(place)
        frame.instances.append(ReturnInstance(probe, tracee.tid, time.perf_counter_ns(), saved))

    def _leads_here(self, place: int, address: int) -> bool:
        """Tell whether a program's return address goes on to our trampoline: then a program waits
        for a call in whose place (a tail call) another one was made that we wait for.
        """
        process = self.process
        if not any(item.arena.holds(address) for item in process.every_installed):
            return False
        onward = {
            entry.hook: entry.original
            for calls in process.every_calls
            for entry in calls.entries(process)
            if entry.place == place
        }
        while address in onward:
            address = onward.pop(address)
        return address == self.trampoline

    def _check(self, address: int, place: int) -> None:
        """Raise ProbeError where the stack holds no return address, as in lazy binding's entry."""
        if address in self._seen:
            return
        mapping = self.process.mapping_at(address)
        if mapping is None or not mapping.executable:
            raise ProbeError(
                "the top of the stack is no return address: nothing called this code",
                address=place,
                code="no-return-address",
            )
        self._seen.add(address)

    def leave(self, tracee: Tracee) -> bool:
        """End the call that returned to the trampoline; False when none is known."""
        now = time.perf_counter_ns()
        machine = self.process.machine
        sp = tracee.registers[machine.sp]
        place = sp - machine.arch.pointer_size
        frame = self.frames.get(place) or self._popped(tracee.tid, sp)
        if frame is None:
            return False
        tracee.registers[machine.ip] = frame.original
        # Should we die now, the guard knows by this that the trap was dealt with.
        tracee.registers[machine.flags] |= machine.done_flag
        self.end(frame, tracee, Outcome.RETURNED, now)
        return True

    def end(self, frame: Frame, tracee: Tracee, outcome: Outcome, now: int = 0) -> None:
        """End a call, and before it those that were called from within and never returned."""
        now = now or time.perf_counter_ns()
        self._bury(frame, tracee)
        self._end(frame, tracee, outcome, now)

    def frames_between(self, tid: int, low: int, high: int) -> list[Frame]:
        """Return the frames of a thread in a part of its stack."""
        return [self.frames[p] for p in self.by_thread.get(tid, ()) if low <= p < high]

    def _popped(self, tid: int, sp: int) -> Frame | None:
        """Find the frame of a function that popped its arguments as well."""
        places = [p for p in self.by_thread.get(tid, ()) if sp - SLOP <= p < sp]
        return self.frames.get(max(places)) if places else None

    def _bury(self, frame: Frame, tracee: Tracee) -> None:
        """End frames that were called from within `frame` on its stack and never returned."""
        owners = {frame.tid, tracee.tid, NOBODY}
        deeper = [p for o in owners for p in self.by_thread.get(o, ()) if p < frame.place]
        if not deeper:
            return
        mappings = self.process.mappings(fresh=True)
        stack = mapping_at(mappings, frame.place)
        if stack is None:
            return
        for place in sorted(deeper):
            if place >= stack.start and place in self.frames:
                self._end(self.frames[place], tracee, Outcome.UNWOUND)

    def _end(self, frame: Frame, tracee: Tracee, outcome: Outcome, now: int = 0) -> None:
        self.frames.pop(frame.place, None)
        places = self.by_thread.get(frame.tid)
        if places is not None:
            if frame.place in places:
                places.remove(frame.place)
            if not places:
                del self.by_thread[frame.tid]
        if frame.elsewhere and outcome is Outcome.LOST:
            return
        value = 0
        if outcome is Outcome.RETURNED:
            value = tracee.registers[self.process.machine.result]
        moment = now or time.perf_counter_ns()
        for instance in reversed(frame.instances):
            elapsed = moment - instance.started_ns
            instance.probe.finish(
                Return(tracee, instance.probe, value, instance.saved, elapsed, outcome)
            )

    def thread_gone(self, tracee: Tracee) -> None:
        """End the calls of a thread that ended inside them.

        Those on other stacks than its own may return yet, on another thread: they belong to nobody
        meanwhile.
        """
        places = list(self.by_thread.pop(tracee.tid, ()))
        if not places:
            return
        stack = self._own_stack(tracee, self.process)
        for place in places:
            frame = self.frames.get(place)
            if frame is None:
                continue
            frame.tid = NOBODY
            if stack is not None and not stack.start <= place < stack.end:
                self.by_thread.setdefault(NOBODY, []).append(place)
                continue
            # Should it return after all, it finds its way without us.
            self._put_back(frame, self.process)
            self._end(frame, tracee, Outcome.LOST)

    @staticmethod
    def _own_stack(tracee: Tracee, process: "Process") -> Mapping | None:
        """Find the stack on which a stopped thread is; None when it is gone already."""
        try:
            sp = tracee.load()[process.machine.sp]
            return mapping_at(process.mappings(fresh=True), sp)
        except (OSError, ProbeError):
            return None

    def all_gone(self, tracee: Tracee) -> None:
        """End every call: the address space is gone."""
        for frame in list(self.frames.values()):
            self._end(frame, tracee, Outcome.LOST)

    def original_of(self, place: int) -> int | None:
        """Return the real return address of a place on the stack that holds the trampoline."""
        frame = self.frames.get(place)
        return None if frame is None else frame.original

    def exchange(self, place: int, former: int, original: int) -> bool:
        """Have the call that waits at a place return elsewhere, if it was to return to `former`."""
        frame = self.frames.get(place)
        if frame is None or frame.original != former:
            return False
        if self.process.guard is not None:
            self.process.guard.cover_frame(place, original)
        frame.original = original
        return True

    def restore(self, process: "Process | None" = None) -> int:
        """Write the real return addresses back into a process (ours, or a copy of it); return how
        many.
        """
        return sum(self._put_back(f, process or self.process) for f in self.frames.values())

    def _put_back(self, frame: Frame, process: "Process") -> bool:
        """Write a real return address back where our trampoline stands."""
        size = process.machine.arch.pointer_size
        try:
            if process.memory.word(frame.place, size) != self.trampoline:
                return False
            process.memory.write(frame.place, frame.original.to_bytes(size, "little"))
        except ProbeError:
            return False
        return True

    def forget(self, probe: "Uretprobe") -> None:
        """Let a probe's pending calls end unreported: it was unregistered."""
        for frame in self.frames.values():
            frame.instances = [i for i in frame.instances if i.probe is not probe]
