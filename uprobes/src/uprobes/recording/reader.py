"""Read one of the rings that a target writes: which records are whole, and take them out.

The target owns the memory and may write anything into it at any moment. So the layout is our own
copy, the index of the next record is ours, and a head that can't be makes the ring begin anew
(`damaged`); nothing read from shared memory becomes an offset before it was reduced to the ring's
size, and every reading ends after at most one lap.

A record stands whole in its slot when its commit word is its index + 1. Where it is not, the word
says why: that of the lap before, so a writer is on its way or was killed, which is given up after a
grace time in which others went on; anything else, so the writer found the slot's last writer
still in it and passed it over. Each index without a record is one record lost (the protocol
stands in `ubp.programs.ring`).
"""

import mmap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ubp.programs import ring

Words = NDArray[np.uint64]
Raw = NDArray[np.void]
Memory = mmap.mmap | memoryview | bytearray | bytes

WORD = 1 << 64
CONTROL_WORDS = ring.CONTROL_SIZE // 8
HEAD, LOST, TAIL = ring.HEAD // 8, ring.LOST // 8, ring.TAIL // 8
"""Words of a control block."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Records that may be taken: `count` indices from `first`, of which `whole` are records.

    `whole` is None where all are. `holes` of the others are lost.
    """

    first: int
    count: int
    whole: NDArray[np.bool_] | None = None
    holes: int = 0

    @property
    def records(self) -> int:
        """How many records that is."""
        return self.count if self.whole is None else int(np.count_nonzero(self.whole))


NOTHING = Ready(0, 0)


class RingReader:
    """One ring of shared memory: `control` and `data` are offsets, `capacity` a power of two.

    `grace_s` is how long a record that was begun may stay unfinished while others behind it are
    not; with `keep` the writers do not get their slots back.
    """

    def __init__(
        self,
        memory: Memory,
        control: int,
        data: int,
        *,
        capacity: int,
        record_size: int,
        overwrite: bool,
        grace_s: float,
        keep: bool = False,
    ) -> None:
        self._control: Words = np.frombuffer(memory, np.uint64, CONTROL_WORDS, control)
        self._slots: Raw = np.frombuffer(memory, f"V{record_size}", capacity, data)
        words = np.frombuffer(memory, np.uint64, capacity * record_size // 8, data)
        self._commits: Words = words[:: record_size // 8]
        self._capacity = capacity
        self._overwrite = overwrite
        self._grace_s = grace_s
        self._tells = not overwrite and not keep
        self._blocked: tuple[int, int, float] | None = None
        """The index that holds us up, the head when it began to, and since when."""
        self.holes = self.overwritten = self.damaged = 0
        self.next = self._begin()

    def _begin(self) -> int:
        """Where an earlier reader stopped; what it says is believed only within one lap."""
        head, tail = int(self._control[HEAD]), int(self._control[TAIL])
        if not self._overwrite and (head - tail) % WORD <= self._capacity:
            return tail
        return max(head - self._capacity, 0)

    @property
    def lost_by_writers(self) -> int:
        """Records for which the writers say that they found no room."""
        return int(self._control[LOST])

    def ready(self, now: float, *, final: bool) -> Ready:
        """Find what may be taken; `final`: nobody writes any more, what is unfinished is lost."""
        head = int(self._control[HEAD])
        count = (head - self.next) % WORD
        if count > self._capacity:
            if not self._overwrite or count >= WORD // 2:
                self.damaged += 1
                self._go_on_at(head)
                return NOTHING
            self.overwritten += count - self._capacity
            self.next = (head - self._capacity) % WORD
            count = self._capacity
        if not count:
            return NOTHING
        whole = self._whole(count)
        if whole.all():
            self._blocked = None
            return Ready(self.next, count)
        return self._with_gaps(whole, head, now, final=final)

    def _whole(self, count: int) -> NDArray[np.bool_]:
        result = np.empty(count, np.bool_)
        for at, slot, length in self._segments(self.next, count):
            wanted = np.arange(length, dtype=np.uint64)
            wanted += np.uint64((self.next + at + 1) % WORD)
            np.equal(self._commits[slot : slot + length], wanted, out=result[at : at + length])
        return result

    def _with_gaps(self, whole: NDArray[np.bool_], head: int, now: float, *, final: bool) -> Ready:
        """Decide about each index without a record: lost, or worth waiting for."""
        given_up = self.next if not final else head
        if self._blocked is not None:
            index, then, since = self._blocked
            behind = whole[int(whole.argmin()) :].any()
            if index == self.next and behind and now - since >= self._grace_s:
                given_up = then
        reach = (given_up - self.next) % WORD
        missing = np.flatnonzero(~whole)
        for position in missing[missing >= reach].tolist():
            index = (self.next + position) % WORD
            commit = int(self._commits[index & (self._capacity - 1)])
            if commit == (index + 1) % WORD:
                whole[position] = True  # it was finished since we looked
            elif commit == (0 if index < self._capacity else (index - self._capacity + 1) % WORD):
                whole = whole[:position]
                self._block(index, head, now)
                break
        else:
            self._blocked = None
        return Ready(self.next, len(whole), whole, int(np.count_nonzero(~whole)))

    def _block(self, index: int, head: int, now: float) -> None:
        if self._blocked is None or self._blocked[0] != index:
            self._blocked = (index, head, now)

    def copy(self, ready: Ready, out: Raw) -> int:
        """Copy what is ready to the beginning of `out`; return how many records are good.

        Where writers overwrite, those that they reached meanwhile are left out and counted.
        """
        at = 0
        for position, slot, length in self._segments(ready.first, ready.count):
            records = self._slots[slot : slot + length]
            if ready.whole is not None:
                records = records[ready.whole[position : position + length]]
            out[at : at + len(records)] = records
            at += len(records)
        if not self._overwrite:
            return at
        # A writer advances the head before it touches a slot, so what it may have torn is known.
        torn = self._reached(ready)
        if not torn:
            return at
        gone = torn if ready.whole is None else int(np.count_nonzero(ready.whole[:torn]))
        self.overwritten += gone
        out[: at - gone] = out[gone:at].copy()
        return at - gone

    def _reached(self, ready: Ready) -> int:
        """How many of the oldest records writers may have reached since they were found ready."""
        passed = (int(self._control[HEAD]) - ready.first) % WORD
        if passed >= WORD // 2:
            self.damaged += 1
            return ready.count
        return min(max(passed - self._capacity, 0), ready.count)

    def views(self, ready: Ready) -> list[Raw]:
        """Return the records themselves, in one or two parts, which nobody may write through."""
        parts = []
        for _, slot, length in self._segments(ready.first, ready.count):
            part = self._slots[slot : slot + length]
            part.flags.writeable = False
            parts.append(part)
        return parts

    def consume(self, ready: Ready) -> None:
        """Give the slots of what was ready back to the writers."""
        self.holes += ready.holes
        if ready.count:
            self._go_on_at(ready.first + ready.count)

    def _go_on_at(self, index: int) -> None:
        self.next = index % WORD
        self._blocked = None if self._blocked and self._blocked[0] != self.next else self._blocked
        if self._tells:
            self._control[TAIL] = self.next

    def _segments(self, first: int, count: int) -> list[tuple[int, int, int]]:
        """Cut indices where the ring's end is: (position, slot, length) of one or two parts."""
        slot = first & (self._capacity - 1)
        near = min(count, self._capacity - slot)
        parts = [(0, slot, near)]
        if count > near:
            parts.append((near, 0, count - near))
        return parts
