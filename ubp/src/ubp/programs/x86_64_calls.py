"""Finding and claiming entries of the table of calls under way, as x86-64 instructions."""

from collections.abc import Callable

from ubp.programs import x86_64_guard as guard
from ubp.programs.cells import Cells
from ubp.programs.returns import BUCKETS_AT, HASH, HOOK, PLACES_SIZE, UNWOUND, WAYS, TableLayout
from ubp.programs.x86_64_actions import increment
from ubp.programs.x86_64_values import Values
from ubp.x86_assembler import Assembler, Mem, Near

MARK = int.from_bytes(bytes.fromhex("0f1f8400") + b"hook", "little")
"""What stands at every hook: an instruction of 8 bytes that does nothing."""
TRAPS = int.from_bytes(b"\xcc" * 8, "little")
"""What stands where a tracer has functions return to: it waits there for this call too."""


class Claim:
    """The code that claims an entry for the return address on top of the stack.

    It leaves the entry's address in the register `entry`, that of the return address in `place`.
    Labels it needs: `hook`, this site's return address; `leave`, where a call goes on unhooked.
    """

    def __init__(self, values: Values, table: TableLayout, layout: Cells) -> None:
        self.a = values.a
        self.values = values
        self.table = table
        self.layout = layout
        self.entry, self.bucket, self.place = values.frame.pool()[:3]
        values.frame.reserved |= {self.entry, self.place}

    def emit(self) -> None:
        """Claim one; where there is none, count and go to the label `leave`."""
        a, frame = self.a, self.values.frame
        entry, bucket, place = self.entry, self.bucket, self.place
        frame.touch(entry, bucket, place, "rax", "rcx", "rdx")
        frame.touch_flags()
        a.lea(place, Mem("rsp", frame.depth))
        find_bucket(a, self.table, place, bucket)
        a.label("look")
        a.mov("rax", Mem(bucket))
        for way in range(1, WAYS):
            a.arithmetic("or", "rax", Mem(bucket, 8 * way))
        a.jump_if("ne", "occupied")
        a.mov("rcx", bucket)
        a.lea(entry, Mem(bucket, PLACES_SIZE))
        a.label("claim")
        # rcx: the place word of a free entry; rax: 0.
        a.lock_cmpxchg(Mem("rcx"), place)
        a.jump_if("ne", "look")
        frame.cold(lambda: self._occupied())

    def _occupied(self) -> None:
        """The bucket has entries: is one of them for this place? Which one is free?"""
        a, values, size = self.a, self.values, self.table.entry_size
        entry, bucket, place = self.entry, self.bucket, self.place
        a.label("occupied")
        self._each_here("here", lambda: a.jump("same"))
        a.label("free")
        a.arithmetic("xor", "rax", "rax", size=4)
        a.mov("rcx", bucket)
        a.lea("rdx", Mem(bucket, 8 * WAYS))
        a.lea(entry, Mem(bucket, PLACES_SIZE))
        a.label("way")
        a.arithmetic("cmp", Mem("rcx"), 0)
        a.jump_if("e", "claim")
        a.arithmetic("add", entry, size)
        a.arithmetic("add", "rcx", 8)
        a.arithmetic("cmp", "rcx", "rdx")
        a.jump_if("ne", "way")
        increment(values, self.layout.unhooked or 0)
        a.jump("leave")
        a.label("same")
        # Is the return address a hook? Then this is a tail call, and all entries here are alive.
        a.mov("rax", Mem(place))
        self._each_here("alive", lambda: self._jump_if_hook("tail", "rax"))
        # Of an entry in another table, perhaps.
        a.mov(entry, "rax")
        guard.load_far(values, entry, "tail")
        for mark in (MARK, TRAPS):
            a.mov("rcx", mark)
            a.arithmetic("cmp", "rax", "rcx")
            a.jump_if("e", "tail")
        # Left behind: given up.
        self._each_here("stale", self._give_up)
        a.jump("look")
        a.label("tail")
        a.lea_label("rax", "hook")
        self._each_here("own", lambda: self._jump_if_hook("chain", "rax"))
        a.jump("free")
        a.label("chain")
        increment(values, self.layout.chained or 0)
        a.jump("leave")

    def _each_here(self, name: str, body: Callable[[], None]) -> None:
        """Go through the entries at a place: rcx is the way, rdx the entry's address."""
        a = self.a
        a.arithmetic("xor", "rcx", "rcx", size=4)
        a.lea("rdx", Mem(self.bucket, PLACES_SIZE))
        a.label(name)
        a.arithmetic("cmp", Mem(self.bucket, 0, index="rcx", scale=8), self.place)
        a.jump_if("ne", f"{name} next")
        body()
        a.label(f"{name} next")
        a.arithmetic("add", "rdx", self.table.entry_size)
        a.arithmetic("add", "rcx", 1)
        a.arithmetic("cmp", "rcx", WAYS)
        a.jump_if("b", name)

    def _jump_if_hook(self, label: str, register: str) -> None:
        self.a.arithmetic("cmp", register, Mem("rdx", HOOK))
        self.a.jump_if("e", label)

    def _give_up(self) -> None:
        self.a.mov(Mem(self.bucket, 0, index="rcx", scale=8), 0)
        self.a.lock_inc(Near("table", UNWOUND))


def find_bucket(a: Assembler, table: TableLayout, place: str, bucket: str) -> None:
    """Put the address of a place's bucket into a register; rax is overwritten."""
    a.mov("rax", place, size=4)
    a.imul("rax", "rax", HASH)
    a.shift_right("rax", 32)
    a.arithmetic("and", "rax", table.buckets - 1, size=4)
    a.imul("rax", "rax", table.bucket_size)
    a.lea(bucket, Near("table", BUCKETS_AT))
    a.arithmetic("add", bucket, "rax")
