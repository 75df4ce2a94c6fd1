"""The breakpoints of one process: what stands where, what stood there before, and a view that hides
them.

Rules:
- memory is read before it is written: a trap that is not ours is never overwritten, and one of ours
  that somebody else overwrote is never "restored";
- many at once cost one read and one write per run of neighbouring pages, not one per breakpoint;
- writing one is a single-byte (or single-unit) store, so threads may run meanwhile.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ubp.edits import Edits
from ubp.errors import AlreadyInserted, Changed, ForeignBreakpoint, NotInserted, UbpError
from ubp.patches import Patches
from ubp.ports import Memory


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """A trap written at `address`; `original` are the bytes that it hides."""

    address: int
    original: bytes


class Breakpoints:
    """Insert, remove and hide breakpoints in one process's memory.

    `trap` is the architecture's breakpoint instruction.
    """

    def __init__(self, memory: Memory, trap: bytes) -> None:
        self.memory = memory
        self.trap = trap
        self.patches = Patches(memory)
        """The jumps that stand in the same memory; they are hidden from readers as well."""
        self._by_address: dict[int, bytes] = {}
        self._removed: dict[int, bytes] = {}
        """What stood at addresses that had a breakpoint once: a copy of the memory may still hold
        it.
        """

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[Breakpoint]:
        return (Breakpoint(a, o) for a, o in self._by_address.items())

    def at(self, address: int) -> Breakpoint | None:
        """Return the breakpoint that begins at an address, if there is one."""
        original = self._by_address.get(address)
        return None if original is None else Breakpoint(address, original)

    def stands(self, address: int) -> bool | None:
        """Tell whether a trap stands at an address now, whoever wrote it; None where there is no
        memory.
        """
        try:
            return self.memory.read(address, len(self.trap)) == self.trap
        except Exception:
            return None  # whatever this memory raises for that

    def insert(self, address: int) -> Breakpoint:
        """Write one breakpoint; raises AlreadyInserted, ForeignBreakpoint or the memory's own
        error.
        """
        refused = self.insert_many([address])
        for error in refused.values():
            raise error
        return Breakpoint(address, self._by_address[address])

    def remove(self, address: int) -> None:
        """Put the original bytes back; raises NotInserted or Changed."""
        refused = self.remove_many([address])
        for error in refused.values():
            raise error

    def insert_many(
        self,
        addresses: Iterable[int],
        announce: Callable[[dict[int, bytes]], object] | None = None,
    ) -> dict[int, Exception]:
        """Write many breakpoints at once; return the refused ones with their errors.

        `announce` gets the original bytes of those that will be written, before the first one is.
        """
        known = self._by_address
        wanted = sorted(set(addresses))
        refused: dict[int, Exception] = {
            address: AlreadyInserted("a breakpoint of ours stands there", address=address)
            for address in wanted
            if address in known
        }
        fresh: dict[int, bytes] = {}

        def choose(address: int, present: bytes) -> bytes | None:
            patch = self.patches.needing(address)
            if patch is not None:
                refused[address] = AlreadyInserted(
                    "a jump of ours stands over that instruction"
                    if address < patch.end
                    else "a jump of ours in front of that instruction depends on its bytes",
                    address=address,
                    hint="remove the jump probe there, or make it one that traps",
                )
            elif present == self.trap:
                refused[address] = ForeignBreakpoint(
                    "a breakpoint that is not ours stands there",
                    address=address,
                    hint="remove it, or detach the tool that put it in",
                )
            else:
                fresh[address] = present
                return self.trap
            return None

        edits = Edits(self.memory)
        size = len(self.trap)
        edits.decide([(a, size) for a in wanted if a not in refused], choose, refused.__setitem__)
        if announce is not None and fresh:
            announce(fresh)

        def lost(address: int, error: Exception) -> None:
            if fresh.pop(address, None) is not None:
                refused[address] = error

        edits.write(lost)
        known.update(fresh)
        return refused

    def remove_many(self, addresses: Iterable[int]) -> dict[int, UbpError]:
        """Take many breakpoints out at once; return those that were not there as we left them."""
        refused: dict[int, UbpError] = {}
        known = self._by_address
        leaving: dict[int, bytes] = {}
        for address in sorted(set(addresses)):
            if address in known:
                leaving[address] = known.pop(address)
            else:
                refused[address] = NotInserted(
                    "no breakpoint of ours stands there", address=address
                )

        def choose(address: int, present: bytes) -> bytes | None:
            self._removed[address] = leaving[address]
            if present == self.trap:
                return leaving[address]
            refused[address] = Changed("somebody overwrote the breakpoint", address=address)
            return None

        def failed(address: int, _error: Exception) -> None:
            refused[address] = Changed("the memory of the breakpoint is gone", address=address)

        edits = Edits(self.memory)
        edits.decide([(address, len(self.trap)) for address in leaving], choose, failed)
        edits.write(failed)
        return refused

    def forget(self, addresses: Iterable[int] | None = None) -> None:
        """Drop breakpoints without writing: their memory is gone (exec, munmap)."""
        if addresses is None:
            self._by_address.clear()
            self._removed.clear()
            self.patches.forget()
        else:
            for address in addresses:
                self._by_address.pop(address, None)

    def adopt(self, originals: Mapping[int, bytes]) -> None:
        """Take over breakpoints that somebody else wrote, with the bytes that they hide."""
        self._by_address.update(originals)

    def inherit(self, parent: "Breakpoints", *, removed: bool = True) -> None:
        """Take over what a copy of the parent's memory holds: its breakpoints.

        With `removed` also those that it had once: the copy may be older than their removal. Those
        that are not in it after all are found `Changed` when they are removed, and left alone.
        """
        self.patches.adopt(parent.patches)
        self._by_address = dict(parent._by_address)
        if removed:
            self._by_address = {**parent._removed, **self._by_address}

    def complete(self) -> list[int]:
        """Write those breakpoints that a copy of the memory lacks because it is older than they.

        Return their addresses. Where the copy holds something else they are forgotten.
        """
        known = self._by_address
        written: list[int] = []
        other: list[int] = []

        def choose(address: int, present: bytes) -> bytes | None:
            if present == known[address]:
                written.append(address)
                return self.trap
            if present != self.trap:
                other.append(address)
            return None

        edits = Edits(self.memory)
        places = [(address, len(self.trap)) for address in sorted(known)]
        edits.decide(places, choose, lambda address, _error: other.append(address))
        edits.write(lambda address, _error: other.append(address))
        self.forget(other)
        return [address for address in written if address not in other]

    @property
    def removed(self) -> dict[int, bytes]:
        """The original bytes at addresses that had a breakpoint once and have none now."""
        return self._removed

    def lift(self, address: int) -> None:
        """Put the original bytes back for a moment (stepping in place); `lower` writes the trap
        again.
        """
        self.memory.write(address, self._by_address[address])

    def lower(self, address: int) -> None:
        """Write the trap of a lifted breakpoint again."""
        self.memory.write(address, self.trap)

    def read(self, address: int, size: int) -> bytes:
        """Read memory as the program would see it without our breakpoints."""
        return self.mask(address, self.memory.read(address, size))

    def mask(self, address: int, code: bytes) -> bytes:
        """Replace our traps in bytes that were read from `address` by what they hide."""
        known = self._by_address
        width = len(self.trap)
        first, end = address - width + 1, address + len(code)
        if end - first <= len(known):
            inside = [a for a in range(first, end) if a in known]
        else:
            inside = [a for a in known if first <= a < end]
        code = self.patches.mask(address, code)
        if not inside:
            return code
        masked = bytearray(code)
        for at in inside:
            for index, byte in enumerate(known[at]):
                if address <= at + index < end:
                    masked[at + index - address] = byte
        return bytes(masked)

