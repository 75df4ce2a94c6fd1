"""The calls whose returns run a program: the tables in the process, and how they are given up.

A return address that leads to a program's code stands on a stack; the real one is in a table in the
process's own memory. A program can only go when none of its return addresses is left.
"""

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ubp.programs import TableLayout
from ubp.programs.returns import BUCKETS_AT, HOOK, ORIGINAL, PLACES_SIZE, WAYS
from uprobes.area import DISTANCE
from uprobes.errors import CannotMap, ProbeError
from uprobes.patch.shared import map_private

if TYPE_CHECKING:
    from uprobes.patch.arena import Arena
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

    def __init__(self, tables: list[int]) -> None:
        self.tables = tables

    @classmethod
    def create(cls, process: "Process") -> "CallTables":
        """Make tables near all code of a process; needs a stopped thread. Raises CannotMap."""
        tables: list[int] = []
        for mapping in process.mappings(fresh=True):
            if not mapping.executable or not mapping.inode:
                continue
            near = (mapping.start, mapping.end)
            if any(abs(t - end) < FAR for t in tables for end in near):
                continue
            place = map_private(process, cls.size(), near)
            process.memory.write(place, LAYOUT.header())
            tables.append(place)
        return cls(tables)

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
            for bucket in range(BUCKETS_AT, LAYOUT.size, LAYOUT.bucket_size):
                if not any(content[bucket : bucket + PLACES_SIZE]):
                    continue
                for way in range(WAYS):
                    place_at = bucket + WORD.size * way
                    (place,) = WORD.unpack_from(content, place_at)
                    if place:
                        at = bucket + PLACES_SIZE + way * LAYOUT.entry_size
                        original, hook = PAIR.unpack_from(content, at + ORIGINAL)
                        yield Entry(table + place_at, table + at, place, original, hook)

    def give_up(self, process: "Process", arena: "Arena", inside: Collection[int] = ()) -> None:
        """Put the real return addresses back where those into an arena stand; threads are held.

        `inside` are the stack pointers of threads in the arena: the calls that they are just
        entering or leaving stay as they are.

        Where the function that returned there had called another in its own place (a tail call),
        the arena's address stands in that one's entry.
        """
        entries = list(self.entries(process))
        mine = [entry for entry in entries if arena.holds(entry.hook)]
        originals = {entry.entry_at: entry.original for entry in entries}
        memory = process.memory
        for entry in mine:
            if any(sp - WORD.size <= entry.place < sp + MOST_FRAME for sp in inside):
                continue
            original = originals[entry.entry_at]
            try:
                if memory.word(entry.place) == entry.hook:
                    memory.write(entry.place, WORD.pack(original))
            except ProbeError:
                continue  # the stack is gone
            finally:
                memory.write(entry.place_at, WORD.pack(0))
            for other in entries:
                if other.place == entry.place and originals[other.entry_at] == entry.hook:
                    memory.write(other.entry_at + ORIGINAL, WORD.pack(original))
                    originals[other.entry_at] = original


assert ORIGINAL + WORD.size == HOOK
