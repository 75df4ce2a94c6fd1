"""The patches of one process: instructions overwritten by a jump to code of ours.

Rules:
- what stands there must be what the patch was made for, before it goes in and before it comes out;
- two patches never overlap, and no breakpoint stands inside one, nor in bytes that it keeps;
- a patch is several bytes, so whoever calls sees to it that no thread is inside meanwhile.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ubp.edits import Edits
from ubp.errors import AlreadyInserted, Changed, NotInserted, UbpError
from ubp.ports import Memory


@dataclass(frozen=True, slots=True)
class Patch:
    """`code` written at `address` in place of `original`, which is as long.

    `kept` bytes behind it belong to the jump as they stand: who changes them has it lead elsewhere.
    """

    address: int
    original: bytes
    code: bytes
    kept: int = 0

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + len(self.code)

    @property
    def reach(self) -> int:
        """The first address behind what must not change."""
        return self.end + self.kept


class Patches:
    """Insert, remove and hide patches in one process's memory."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._by_address: dict[int, Patch] = {}
        self._addresses: list[int] = []

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[Patch]:
        return iter(self._by_address.values())

    def needing(self, address: int) -> Patch | None:
        """Return the patch whose bytes include an address, or which keeps the byte there."""
        return self._last_from(address, address + 1)

    def covering(self, address: int) -> Patch | None:
        """Return the patch whose bytes include an address."""
        patch = self.needing(address)
        return patch if patch is not None and address < patch.end else None

    def keeping(self, address: int) -> Patch | None:
        """Return the patch which keeps the byte at an address as it is."""
        patch = self.needing(address)
        return patch if patch is not None and address >= patch.end else None

    def _last_from(self, start: int, end: int) -> Patch | None:
        """Return a patch that shares bytes with [start, end)."""
        index = bisect_right(self._addresses, end - 1)
        if not index:
            return None
        patch = self._by_address[self._addresses[index - 1]]
        return patch if patch.reach > start else None

    def insert_many(self, patches: Iterable[Patch]) -> dict[int, Exception]:
        """Write patches whose original bytes stand there; return the refused ones with their
        errors.
        """
        refused: dict[int, Exception] = {}
        wanted: dict[int, Patch] = {}
        last = -1
        for patch in sorted(patches, key=lambda patch: patch.address):
            if patch.address < last or self._last_from(patch.address, patch.reach) is not None:
                refused[patch.address] = AlreadyInserted(
                    "another patch of ours stands there", address=patch.address
                )
            else:
                wanted[patch.address] = patch
                last = patch.reach
        done = self._exchange(wanted.values(), refused, back=False)
        self._by_address.update({patch.address: patch for patch in done})
        self._addresses = sorted(self._by_address)
        return refused

    def remove_many(self, addresses: Iterable[int]) -> dict[int, Exception]:
        """Put original bytes back; return those that were not there as we left them."""
        refused: dict[int, Exception] = {}
        leaving = []
        for address in sorted(set(addresses)):
            patch = self._by_address.pop(address, None)
            if patch is None:
                refused[address] = NotInserted("no patch of ours stands there", address=address)
            else:
                leaving.append(patch)
        self._exchange(leaving, refused, back=True)
        self._addresses = sorted(self._by_address)
        return refused

    def _exchange(
        self, patches: Iterable[Patch], refused: dict[int, Exception], *, back: bool
    ) -> list[Patch]:
        by_address = {patch.address: patch for patch in patches}
        edits = Edits(self.memory)

        def choose(address: int, present: bytes) -> bytes | None:
            patch = by_address[address]
            expected, new = patch.original, patch.code
            if back:
                expected, new = new, expected
            if present == expected:
                return new
            refused[address] = _changed(address)
            return None

        def failed(address: int, error: Exception) -> None:
            refused[address] = _changed(address) if back else error

        edits.decide([(patch.address, len(patch.code)) for patch in patches], choose, failed)
        edits.write(failed)
        return [patch for patch in patches if patch.address not in refused]

    def mask(self, address: int, code: bytes) -> bytes:
        """Replace our patches in bytes that were read from `address` by what they hide."""
        end = address + len(code)
        first = bisect_right(self._addresses, address)
        if first and self._by_address[self._addresses[first - 1]].end > address:
            first -= 1
        masked: bytearray | None = None
        for at in self._addresses[first:]:
            if at >= end:
                break
            if masked is None:
                masked = bytearray(code)
            patch = self._by_address[at]
            low, high = max(at, address), min(patch.end, end)
            masked[low - address : high - address] = patch.original[low - at : high - at]
        return code if masked is None else bytes(masked)

    def adopt(self, patches: Iterable[Patch]) -> None:
        """Take over patches that somebody else wrote."""
        self._by_address.update({patch.address: patch for patch in patches})
        self._addresses = sorted(self._by_address)

    def drop(self, addresses: Iterable[int]) -> None:
        """Drop some without writing: their memory is gone."""
        for address in addresses:
            self._by_address.pop(address, None)
        self._addresses = sorted(self._by_address)

    def forget(self) -> None:
        """Drop all without writing: their memory is gone."""
        self._by_address.clear()
        self._addresses.clear()


def _changed(address: int) -> UbpError:
    return Changed("the bytes there are not those that were expected", address=address)
