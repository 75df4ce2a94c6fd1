"""Many small changes to a process's memory with few reads and writes.

What lies close together is read and written as one stretch; pages in which nothing changes are not
written, so that they stay shared with the file.
"""

from collections.abc import Callable, Iterator, Sequence

from ubp.ports import Memory

PAGE = 4096
JOIN = 4 * PAGE
"""Places closer than this are read in one go."""

Place = tuple[int, int]
"""Address and size in bytes."""


class Edits:
    """Changes that were decided and are not written yet."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._stretches: list[tuple[int, bytes, bytearray, Sequence[Place]]] = []

    def decide(
        self,
        places: Sequence[Place],
        choose: Callable[[int, bytes], bytes | None],
        failed: Callable[[int, Exception], None],
    ) -> None:
        """Ask `choose` for the new bytes of each place, given the present ones; None changes
        nothing.

        `places` are in ascending order. `failed` gets each address that can't be read, and the
        memory's own error.
        """
        for run in _runs(places):
            self._decide(run, choose, failed)

    def _decide(
        self,
        run: Sequence[Place],
        choose: Callable[[int, bytes], bytes | None],
        failed: Callable[[int, Exception], None],
    ) -> None:
        start = run[0][0]
        end = max(address + size for address, size in run)
        try:
            before = self.memory.read(start, end - start)
        except Exception as error:
            if len(run) == 1:
                failed(start, error)
                return
            for place in run:
                self._decide([place], choose, failed)
            return
        after = bytearray(before)
        for address, size in run:
            offset = address - start
            chosen = choose(address, before[offset : offset + size])
            if chosen is not None:
                after[offset : offset + size] = chosen
        self._stretches.append((start, before, after, run))

    def write(self, failed: Callable[[int, Exception], None]) -> None:
        """Write what was decided, in stretches of whole pages.

        `failed` gets each address whose page is gone meanwhile, and the memory's own error.
        """
        for start, before, after, run in self._stretches:
            for low, high in _changed(start, before, after):
                for first, end, error in self._write(start + low, bytes(after[low:high])):
                    for address, size in run:
                        if first < address + size and address < end:
                            failed(address, error)
        self._stretches.clear()

    def _write(self, start: int, content: bytes) -> Iterator[tuple[int, int, Exception]]:
        """Write to each page that is there; give the others with their errors."""
        end = start + len(content)
        try:
            self.memory.write(start, content)
        except Exception as error:  # whatever this memory raises
            next_page = (start | PAGE - 1) + 1
            if next_page >= end:
                yield start, end, error
                return
            yield from self._write(start, content[: next_page - start])
            yield from self._write(next_page, content[next_page - start :])


def _changed(start: int, before: bytes, after: bytearray) -> Iterator[tuple[int, int]]:
    """Give the offsets of the stretches of pages that differ."""
    size = len(before)
    stretch: int | None = None
    offset = 0
    while offset < size:
        end = min(size, (start + offset) // PAGE * PAGE + PAGE - start)
        if before[offset:end] != after[offset:end]:
            if stretch is None:
                stretch = offset
        elif stretch is not None:
            yield stretch, offset
            stretch = None
        offset = end
    if stretch is not None:
        yield stretch, size


def _runs(places: Sequence[Place]) -> Iterator[list[Place]]:
    """Split places in ascending order where the gap is too wide to read across."""
    run: list[Place] = []
    for address, size in places:
        if run and address - run[-1][0] > JOIN + size:
            yield run
            run = []
        run.append((address, size))
    if run:
        yield run
