"""What a process has mapped: /proc/PID/maps as records."""

from dataclasses import dataclass

from uprobes.errors import NoSuchProcess
from uprobes.status import living_thread

VSYSCALL = "[vsyscall]"
"""The path of the page that the kernel emulates: it can be neither read nor written."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """One line of /proc/PID/maps: `start` ≤ address < `end`, permissions like `r-xp`."""

    start: int
    end: int
    permissions: str
    offset: int
    device: str
    inode: int
    path: str

    @property
    def executable(self) -> bool:
        """Whether instructions can be fetched from it."""
        return self.permissions[2] == "x"

    @property
    def writable(self) -> bool:
        """Whether the program itself can write to it."""
        return self.permissions[1] == "w"

    @property
    def shared(self) -> bool:
        """Whether writes reach other processes or the file."""
        return self.permissions[3] == "s"


def read_mappings(pid: int) -> list[Mapping]:
    """Return the mappings of a process in order of address; raises NoSuchProcess."""
    try:
        lines = _read_lines(pid)
        if not lines and (tid := living_thread(pid)) is not None:
            lines = _read_lines(tid)  # the main thread has ended before the others
    except (FileNotFoundError, ProcessLookupError):
        raise NoSuchProcess(f"there is no process {pid}") from None
    return [parse_mapping(line) for line in lines]


def has_memory(pid: int) -> bool:
    """Tell whether a process has memory; one that is ending has given it back."""
    try:
        return bool(read_mappings(pid))
    except NoSuchProcess:
        return False


def _read_lines(tid: int) -> list[str]:
    with open(f"/proc/{tid}/maps", encoding="utf-8", errors="surrogateescape") as file:
        return file.readlines()


def parse_mapping(line: str) -> Mapping:
    """Read one line of /proc/PID/maps."""
    fields = line.rstrip("\n").split(None, 5)
    start, _, end = fields[0].partition("-")
    path = fields[5] if len(fields) > 5 else ""
    return Mapping(
        int(start, 16), int(end, 16), fields[1], int(fields[2], 16), fields[3], int(fields[4]), path
    )


def mapping_at(mappings: list[Mapping], address: int) -> Mapping | None:
    """Return the mapping that contains an address."""
    low, high = 0, len(mappings)
    while low < high:
        middle = (low + high) // 2
        mapping = mappings[middle]
        if address < mapping.start:
            high = middle
        elif address >= mapping.end:
            low = middle + 1
        else:
            return mapping
    return None


def gap_near(
    mappings: list[Mapping],
    reach: tuple[int, ...],
    size: int,
    *,
    distance: int,
    lowest: int,
    highest: int,
    guard: int,
) -> int | None:
    """Find room for `size` bytes within `distance` of all of `reach`, preferably just below them.

    Room below is preferred (heaps and stacks grow towards room above); `guard` bytes stay free on
    both sides.
    """
    low = max([lowest, *(r - distance for r in reach)])
    high = min([highest - size, *(r + distance - size for r in reach)])
    anchor = min(reach) if reach else highest
    best: int | None = None
    previous_end = lowest
    edges = [(m.start, m.end) for m in mappings] + [(highest, highest)]
    for start, end in edges:
        first = max(low, previous_end + guard)
        last = min(high, start - guard - size)
        if first <= last:
            candidate = last if last <= anchor else max(first, min(last, anchor))
            if best is None or _badness(candidate, anchor) < _badness(best, anchor):
                best = candidate
        previous_end = max(previous_end, end)
    return None if best is None else best & ~0xFFF


def _badness(candidate: int, anchor: int) -> tuple[bool, int]:
    return (candidate > anchor, abs(anchor - candidate))
