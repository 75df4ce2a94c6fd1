"""The calls whose returns run a program: the tables in the process, and how they are given up.

A return address that leads to a program's code stands on a stack; the real one is in a table in the
process's own memory. A program can only go when none of its return addresses is left.
"""

import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ubp.programs import TableLayout
from ubp.programs.returns import BUCKETS_AT, HOOK, ORIGINAL, PLACES_SIZE, UNWOUND, WAYS
from uprobes.area import DISTANCE
from uprobes.errors import CannotMap, ProbeError
from uprobes.patch.shared import map_private

if TYPE_CHECKING:
    from uprobes.memory import ProcessMemory
    from uprobes.process import Process

LAYOUT = TableLayout()
WORD = struct.Struct("<Q")
PAIR = struct.Struct("<QQ")
FAR = DISTANCE // 2
"""Code farther apart than this has tables of its own."""
MOST_FRAME = 4096
"""A program takes no more of the stack."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One call under way: where its table's two words are, its place on the stack, its hook."""

    place_at: int
    entry_at: int
    place: int
    original: int
    hook: int


class CallTables:
    """The tables of one process, each near the code that it serves."""

    def __init__(self, tables: Iterable[int] = ()) -> None:
        self.tables = list(tables)

    def map(self, process: "Process", announce: Callable[[], object]) -> None:
        """Map tables near all code of a process; needs a stopped thread. Raises CannotMap.

        `announce` is called after each: what it tells is right, whenever we are killed.
        """
        for mapping in process.mappings(fresh=True):
            if not mapping.executable or not mapping.inode:
                continue
            near = (mapping.start, mapping.end)
            if any(abs(t - end) < FAR for t in self.tables for end in near):
                continue
            place = map_private(process, self.size(), near)
            process.memory.write(place, LAYOUT.header())
            self.tables.append(place)
            announce()

    @staticmethod
    def is_table(memory: "ProcessMemory", place: int) -> bool:
        """Tell whether there is a table; its memory may be something else's by now."""
        header = LAYOUT.header()
        try:
            return memory.read(place, len(header))[:UNWOUND] == header[:UNWOUND]
        except ProbeError:
            return False

    @staticmethod
    def size() -> int:
        """Return how many bytes a table takes, in whole pages."""
        return LAYOUT.size + 4095 & -4096

    def near(self, address: int) -> int:
        """Return the table that code at an address can reach; raises CannotMap."""
        for table in self.tables:
            if abs(table - address) < DISTANCE:
                return table
        raise CannotMap("no table of calls is in reach of that code", address=address)

    def mappings(self) -> Iterator[tuple[int, int]]:
        """Give start and end of each table."""
        for table in self.tables:
            yield table, table + self.size()

    def entries(self, process: "Process") -> Iterator[Entry]:
        """Give every call under way."""
        for table in self.tables:
            try:
                content = process.memory.read(table, LAYOUT.size)
            except ProbeError:
                continue
            buckets = np.frombuffer(content, np.uint64, offset=BUCKETS_AT)
            places = buckets.reshape(-1, LAYOUT.bucket_size // WORD.size)[:, :WAYS]
            for number, way in np.argwhere(places).tolist():
                bucket = BUCKETS_AT + number * LAYOUT.bucket_size
                at = bucket + PLACES_SIZE + way * LAYOUT.entry_size
                original, hook = PAIR.unpack_from(content, at + ORIGINAL)
                place = int(places[number, way])
                yield Entry(table + bucket + WORD.size * way, table + at, place, original, hook)

    def exchange(self, process: "Process", place: int, former: int, original: int) -> bool:
        """Have a call at a place return elsewhere, if it was to return to `former`."""
        mine = [e for e in self.entries(process) if (e.place, e.original) == (place, former)]
        for entry in mine:
            process.memory.write(entry.entry_at + ORIGINAL, WORD.pack(original))
        return bool(mine)

    def give_up(
        self, process: "Process", holds: Callable[[int], bool], inside: Collection[int] = ()
    ) -> set[int]:
        """Put the real return addresses back where there stand hooks for which `holds`; threads are
        held. Return those hooks that are in use yet.

        `inside` are the stack pointers of threads in the generated code of these hooks: the calls
        that they are just entering or leaving stay as they are.

        Where the function that returned there had called another in its own place (a tail call),
        the hook's address stands in that one's entry.
        """
        entries = list(self.entries(process))
        mine = [entry for entry in entries if holds(entry.hook)]
        originals = {entry.entry_at: entry.original for entry in entries}
        memory = process.memory
        busy = {_innermost(entries, sp) for sp in inside}
        kept = set()
        for entry in mine:
            if entry.place in busy:
                kept.add(entry.hook)
                continue
            original = originals[entry.entry_at]
            over = False
            try:
                if memory.word(entry.place) == entry.hook:
                    memory.write(entry.place, WORD.pack(original))
                    over = True
            except ProbeError:
                over = True  # the stack is gone
            if process.returns is not None:
                over |= process.returns.exchange(entry.place, entry.hook, original)
            for other in entries:
                if other.place == entry.place and originals[other.entry_at] == entry.hook:
                    memory.write(other.entry_at + ORIGINAL, WORD.pack(original))
                    originals[other.entry_at] = original
                    over = True
            # Else another program may just have claimed it, and not have written its own hook yet.
            if over:
                memory.write(entry.place_at, WORD.pack(0))
        return kept


def _innermost(entries: Iterable[Entry], sp: int) -> int | None:
    """Return the place of the call that a thread is entering or leaving with this stack pointer."""
    near = (e.place for e in entries if sp - WORD.size <= e.place < sp + MOST_FRAME)
    return min(near, default=None)


assert ORIGINAL + WORD.size == HOOK
