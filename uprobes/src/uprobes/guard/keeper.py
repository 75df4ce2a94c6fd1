"""Keep the guard of one process: install it with the first breakpoint, keep its tables true, take
it out.

Order of writes: a point is in the table before its breakpoint is in the text, and stays in it when
the breakpoint is out (a thread may have been stopped by it just before); a frame is in the table
before its trampoline is on the stack.
"""

import contextlib
import struct
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from uprobes.errors import CannotMap, NotMapped, ProbeError, TargetGone
from uprobes.guard import layout
from uprobes.guard.action import SIGTRAP, handler_of, swap_action
from uprobes.guard.layout import POINT, Field, GuardCode
from uprobes.ptrace import ALL_SIGNALS
from uprobes.seccomp import Wish
from uprobes.status import signal_sets

if TYPE_CHECKING:
    from uprobes.process import Process
    from uprobes.tracee import Tracee

IGNORE = 1
SA_ONSTACK, SA_RESETHAND = 0x0800_0000, 0x8000_0000
CALLS: tuple[Wish, ...] = (
    ("rt_sigaction", (SIGTRAP,)),
    ("munmap", ()),
    ("rt_sigreturn", ()),
    ("rt_sigprocmask", (2,)),
)
"""The system calls without which there can be no guard."""
CALLS_ALONE: tuple[Wish, ...] = (
    ("mprotect", (0, 0x1000, 7)),
    ("mprotect", (0, 0x1000, 5)),
    ("open", (0, 2)),
    ("pread64", ()),
    ("pwrite64", ()),
    ("close", ()),
    ("getpid", ()),
    ("gettid", ()),
    ("tgkill", (0, 0, SIGTRAP)),
)
"""Those that it tries when we are dead: it does without what fails."""
AREA = layout.SIZE + 0xFFF & ~0xFFF


class Guard:
    """The guard of one process, installed; made by `install`."""

    def __init__(self, process: "Process", base: int, made: GuardCode) -> None:
        self.process = process
        self.base = base
        self.made = made
        self.rows = np.zeros(0, POINT)
        self._buffer = 0
        self._places: dict[int, int] = {}
        self._areas: list[tuple[int, int]] = []

    # -- in and out -----------------------------------------------------------------------------

    @classmethod
    def install(cls, process: "Process") -> "Guard":
        """Map the area and put the handler in; needs a stopped thread. Raises CannotMap."""
        process.may_call(*CALLS, survived=CALLS_ALONE)
        base = process.mapper.map_anywhere(AREA)
        made = process.machine.assemble_guard(base)
        guard = cls(process, base, made)
        process.memory.write(base, made.code)
        # In one piece: who finds the header finds what stands in it.
        process.memory.write(base + layout.HEADER, layout.pack_header(base))
        # From here on what we have a thread do has a way back, should we die meanwhile.
        process.guard = guard
        try:
            guard._take_over(swap_action(process, None))
        except BaseException:
            process.guard = None
            process.mapper.unmap(base, AREA)
            raise
        return guard

    def _take_over(self, old: bytes) -> None:
        """Install the handler so that a handler of the program's own behind it notices nothing."""
        process, made = self.process, self.made
        handler, flags, _, mask = layout.ACTION.unpack(old)
        if handler <= IGNORE:
            # Nothing of the program's runs on top of it, to come back when it may be gone.
            flags, mask = made.flags, ALL_SIGNALS
        elif flags & SA_RESETHAND:
            raise CannotMap("the program's own SIGTRAP handler is for one time only (SA_RESETHAND)")
        else:
            flags |= made.flags & ~SA_ONSTACK
        process.memory.write(self.base + layout.OLD_ACTION.offset, old)
        swap_action(process, layout.ACTION.pack(made.handler, flags, made.restorer, mask))

    def prepare_call(
        self, _tracee: "Tracee", registers: Mapping[str, int], mask: int
    ) -> Mapping[str, int]:
        """Write down what a thread finds after a system call if we die (see `way_back`)."""
        saved = [mask, *(registers[name] for name in self.made.restored)]
        at = self.base + layout.CALLER_MASK.offset
        self.process.memory.write(at, struct.pack(f"<{len(saved)}Q", *saved))
        return {self.process.machine.ip: self.made.call_site}

    def stands(self) -> bool:
        """Tell whether its call instruction is there still."""
        code = self.process.machine.call_instruction
        try:
            return self.process.memory.read(self.made.call_site, len(code)) == code
        except ProbeError:
            return False

    def end_call(self) -> None:
        """Leave what was written down: nobody reads it."""

    def handles(self, pid: int) -> bool:
        """Tell whether the handler is still in place, in one of the processes in this memory."""
        handled = signal_sets(pid).get("SigCgt")
        return handled is None or bool(handled >> (SIGTRAP - 1) & 1)

    def covers_default(self) -> bool:
        """Tell whether the program had no handler of its own, and did not ignore the signal."""
        with contextlib.suppress(NotMapped):  # the program took it away
            return not self.word(layout.OLD_ACTION)
        return False

    @property
    def programs_action(self) -> bytes:
        """What the program set for the signal last, as the kernel would tell it."""
        return self.process.memory.read(self.base + layout.OLD_ACTION.offset, layout.ACTION_SIZE)

    def stand_before(self, action: bytes) -> None:
        """Stand before another handler than until now; raises CannotMap as `install` does."""
        self._take_over(action)

    def reinstate(self) -> None:
        """Put the handler in again: the kernel resets it at a breakpoint met with it blocked."""
        self._take_over(self.programs_action)

    @classmethod
    def read(cls, process: "Process", base: int, made: GuardCode) -> "Guard":
        """Return the guard that stands in a process, with the tables that it has there.

        They may be forged: what they say is cut to what can be, and proves nothing.
        """
        guard, memory = cls(process, base, made), process.memory
        at = guard.word(layout.POINTS_AT)
        guard._buffer = int(at >= base + layout.POINTS + layout.BUFFER_SIZE)
        count = min(memory.word(at), layout.MOST_POINTS)
        guard.rows = layout.unpack_points(memory.read(at, 8 + count * POINT.itemsize)).copy()
        guard._places = {place: index for index, (place, _) in enumerate(guard.frames())}
        return guard

    def word(self, field: Field) -> int:
        """Read one word of the header."""
        return self.process.memory.word(self.base + field.offset)

    def frames(self) -> list[tuple[int, int]]:
        """Read the places on stacks that were exchanged, and the real return addresses."""
        used = min(self.word(layout.FRAMES_USED), layout.MOST_FRAMES)
        table = self.process.memory.read(self.base + layout.FRAMES, used * layout.FRAME_SIZE)
        return list(struct.iter_unpack("<QQ", table))

    def copied(self, process: "Process") -> "Guard":
        """Return the guard of a copy of the process's memory, as it was when that was made, with
        the probe points of now.
        """
        copy = Guard.read(process, self.base, self.made)
        copy.cover_as(self)
        return copy

    def cover_as(self, other: "Guard") -> None:
        """Add the probe points that the guard of the same code in another process covers."""
        fresh = other.rows[~np.isin(other.rows["address"], self.rows["address"])]
        if len(fresh):
            self.cover({int(row["address"]): bytes([int(row["original"])]) for row in fresh})

    def remove(self, process: "Process", used: Iterable[int]) -> None:
        """Put the program's own disposition back, if ours is still in place, by a stopped thread of
        each process in that memory; all stays as it is where one has the handler and can't be
        stopped.

        Where trap probes stay, the guard stays with them, and its code where a thread comes back to
        it: `used` are the addresses to which they do. `process` is the one that was guarded, or a
        fork's copy of it.
        """
        if process is self.process and self.leads:
            self._publish(self.rows[self.rows["led"] != 0])
            return
        callers = {pid: process.stopped_tracee(pid) for pid in process.groups}
        if any(caller is None and self.handles(pid) for pid, caller in callers.items()):
            return
        for caller in filter(None, callers.values()):
            process.caller = caller
            self._restore(process)
        process.guard = None  # from here on its call site is no more
        if not any(self.base <= address < self.base + AREA for address in used):
            process.call("munmap", self.base, AREA)

    def _restore(self, process: "Process") -> None:
        old = process.memory.read(self.base + layout.OLD_ACTION.offset, layout.ACTION_SIZE)
        current = swap_action(process, old)
        handler = handler_of(current)
        # No handler may also be what the kernel left at a breakpoint met with SIGTRAP blocked.
        if handler != self.made.handler and (handler or not self.process.loses_guard):
            swap_action(process, current)  # the program has set one of its own since

    def _write(self, field: Field, value: int) -> None:
        self._put(self.base + field.offset, struct.pack("<Q", value))

    def _put(self, at: int, content: bytes) -> None:
        """Write to a table; a program that took their memory away does not outlive us."""
        try:
            self.process.memory.write(at, content)
        except (NotMapped, TargetGone):
            self.process.guard = None
            self.process.unguarded = "the program took the guard's memory away"

    # -- tables ---------------------------------------------------------------------------------

    def cover(self, originals: Mapping[int, bytes]) -> None:
        """Add probe points before their breakpoints are written; `originals` are the bytes there
        now.
        """
        fresh = np.zeros(len(originals), POINT)
        fresh["address"] = np.fromiter(originals, np.uint64, len(originals))
        fresh["original"] = np.frombuffer(b"".join(originals.values()), np.uint8)
        fresh.sort(order="address")
        kept = self.rows[~np.isin(self.rows["address"], fresh["address"])]
        rows = np.concatenate([kept, fresh])
        rows.sort(order="address")
        if len(rows) > layout.MOST_POINTS:
            raise ProbeError(
                f"more than {layout.MOST_POINTS} probe points in one process",
                code="too-many-points",
                hint="detach and attach anew to forget those that were removed",
            )
        self._publish(rows)

    def uncover(self, addresses: Collection[int]) -> None:
        """Forget probe points whose memory is gone: what is mapped there now is none of ours."""
        gone = np.fromiter(addresses, np.uint64, len(addresses))
        self._publish(self.rows[~np.isin(self.rows["address"], gone)])

    def forget_copies(self, slots: Collection[int]) -> None:
        """Say that no copies of covered points' instructions stand in these slots any more."""
        rows = self.rows.copy()
        gone = np.isin(rows["copy"], np.fromiter(slots, np.uint64, len(slots)))
        rows["copy"][gone] = 0
        self._publish(rows)

    def lead(self, copies: Mapping[int, int], healing: Collection[int] = ()) -> None:
        """Say where the breakpoints of trap probes lead; 0 where there is none any more.

        At those `healing` others stand, too: what these left on stacks is put back there first.
        """
        rows = self.rows.copy()
        order = np.array(sorted(copies), np.uint64)
        mine = np.flatnonzero(np.isin(rows["address"], order))
        rows["copy"][mine] = [copies[address] for address in rows["address"][mine].tolist()]
        how = {a: layout.LEADS_HEALED if a in healing else layout.LEADS for a in copies}
        led = [how[a] if copies[a] else 0 for a in rows["address"][mine].tolist()]
        rows["led"][mine] = led
        self._publish(rows)

    def led_originals(self) -> dict[int, bytes]:
        """Return the original bytes under the breakpoints of trap probes."""
        led = self.rows[self.rows["led"] != 0]
        return {int(row["address"]): bytes([int(row["original"])]) for row in led}

    @property
    def leads(self) -> bool:
        """Whether any trap probe depends on it."""
        return bool(self.rows["led"].any())

    def _publish(self, rows: "np.ndarray[tuple[int], np.dtype[np.void]]") -> None:
        """Write another table, then exchange the two: a thread sees the one or the other."""
        self.rows = rows
        self._buffer ^= 1
        at = self._table()
        self._put(at, layout.pack_points(rows))
        self._write(layout.POINTS_AT, at)

    def _table(self) -> int:
        return self.base + layout.POINTS + self._buffer * layout.BUFFER_SIZE

    def carry_on_at(self, address: int, copy: int, length: int, copied: int) -> None:
        """Say that a copy of a covered point's instruction stands in a slot.

        `length` is that of the instruction, `copied` how many bytes of the copy come before its
        jump back.
        """
        self._change(address, copy=copy, length=length, copied=copied)

    def _change(self, address: int, **fields: int) -> None:
        index = int(np.searchsorted(self.rows["address"], np.uint64(address)))
        if index == len(self.rows) or int(self.rows["address"][index]) != address:
            return
        row = self.rows[index]
        for name, value in fields.items():
            row[name] = value
        at = self._table() + 8 + index * POINT.itemsize
        self._put(at, row.tobytes())

    def set_trampoline(self, address: int) -> None:
        """Say where the return trampoline stands."""
        self._write(layout.TRAMPOLINE, address)

    def set_areas(self, areas: Iterable[tuple[int, int]]) -> None:
        """Say which areas hold slots; the list only grows."""
        listed = list(areas)
        if listed == self._areas:
            return
        self._areas = listed
        self._put(self.base + layout.AREAS.offset, layout.pack_areas(listed))
        self._write(layout.AREAS_USED, min(len(listed), layout.MOST_AREAS))

    def cover_frame(self, place: int, original: int) -> None:
        """Note a return address before the trampoline replaces it; raises ProbeError when full."""
        index = self._places.get(place)
        if index is None:
            index = len(self._places)
            if index >= layout.MOST_FRAMES:
                raise ProbeError(
                    f"return addresses at more than {layout.MOST_FRAMES} places on stacks",
                    code="too-many-frames",
                )
            self._places[place] = index
        at = self.base + layout.FRAMES + index * layout.FRAME_SIZE
        self._put(at, struct.pack("<QQ", place, original))
        if index + 1 == len(self._places):
            self._write(layout.FRAMES_USED, index + 1)
