"""Let the program unwind its stack: show it the real return addresses before it looks at them.

Rules:
- when a function that unwinds is entered (an exception is thrown, a thread cancelled, a backtrace
  taken), the trampolines on that thread's stack become the real return addresses again: the
  unwinder would not know the trampoline, and would end the program;
- such a frame is `exposed`; its return is seen by a breakpoint at the real return address, where
  only the stack pointer tells whose return it is;
- the breakpoint goes when no exposed frame waits for it.
"""

from collections.abc import Callable, Iterable, Sequence

from uprobes.errors import ProbeError
from uprobes.hit import Hit, Outcome
from uprobes.location import Location
from uprobes.maps import mapping_at
from uprobes.probe import Probe, Uprobe
from uprobes.process import Process
from uprobes.returns import Frame

LIBRARIES = ("/libgcc_s.", "/libunwind.")

Arm = Callable[[Process, Sequence[tuple[Probe, Location]]], list[ProbeError]]


class Unwinding:
    """Watches the unwinders of a target's processes; lives in the tracing thread."""

    def __init__(self, arm: Arm, disarm: Callable[[Iterable[Probe]], None]) -> None:
        self._arm = arm
        self._disarm = disarm
        self._expose = self.expose  # one object, to be known again
        self._returned = self.returned

    def watch(self, process: Process, unwinders: Iterable[int]) -> None:
        """Be told when one of these functions is entered; those that are watched stay so."""
        known = sorted(set(unwinders))
        process.unwinders.update(self._extent(process, address) for address in known)
        fresh = [a for a in known if not self._probes_at(process, a, self._expose)]
        self._put(process, fresh, self._expose)

    @staticmethod
    def _extent(process: Process, address: int) -> tuple[int, int]:
        """Return what belongs to an unwinder: all of its library, or the function's entry alone."""
        mapping = process.mapping_at(address)
        if mapping is not None and any(name in mapping.path for name in LIBRARIES):
            return mapping.start, mapping.end
        return address, address + 1

    def expose(self, hit: Hit) -> None:
        """Put the real return addresses back on the stack of a thread that begins to unwind it."""
        returns, process = hit.process.returns, hit.process
        if returns is None:
            return
        arch = process.machine.arch
        sp = hit.registers[arch.stack_pointer]
        stack = mapping_at(process.mappings(fresh=True), sp)
        if stack is None:
            return
        for frame in returns.frames_between(hit.tid, sp, stack.end):
            if frame.exposed:
                continue
            if process.memory.word(frame.place) == returns.trampoline:
                process.memory.write(
                    frame.place, frame.original.to_bytes(arch.pointer_size, arch.byte_order)
                )
                frame.exposed = True
            for calls in process.every_calls:
                # A program waits at that place, too: what it puts back must be the real one.
                if calls.exchange(process, frame.place, returns.trampoline, frame.original):
                    frame.exposed = True
            if frame.exposed:
                self._await(process, frame)

    def _await(self, process: Process, frame: Frame) -> None:
        address = frame.original
        if not self._probes_at(process, address, self._returned):
            self._put(process, [address], self._returned)

    def returned(self, hit: Hit) -> None:
        """Take a thread that is at a return address some exposed frame waits for."""
        returns, process = hit.process.returns, hit.process
        if returns is None:
            return
        arch = process.machine.arch
        frame = returns.frames.get(hit.registers[arch.stack_pointer] - arch.pointer_size)
        if frame is not None and frame.exposed and frame.original == hit.address:
            returns.end(frame, hit.tracee, Outcome.RETURNED)
        if not any(f.exposed and f.original == hit.address for f in returns.frames.values()):
            self._disarm(self._probes_at(process, hit.address, self._returned))

    def _put(
        self, process: Process, addresses: Iterable[int], handler: Callable[[Hit], None]
    ) -> None:
        wanted: list[tuple[Probe, Location]] = []
        for address in addresses:
            probe = Uprobe(process.pid, address, handler)
            wanted.append((probe, probe.location))
        self._arm(process, wanted)

    @staticmethod
    def _probes_at(process: Process, address: int, handler: Callable[[Hit], None]) -> list[Probe]:
        point = process.points.get(address)
        return [] if point is None else [p for p in point.probes if p.user_handler is handler]
