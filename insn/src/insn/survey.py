"""The functions of a file with the verdict on the first instruction of each, all at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from insn.bulk import refusals, scan
from insn.elf import Image
from insn.forms import METHODS, RECORD, verdict_number
from insn.model import Method, Reason
from insn.targets import CodeMap
from insn.window import REASONS, Windows

_NO_END = np.uint64((1 << 64) - 1)


@dataclass(frozen=True, slots=True)
class Entries:
    """Function entries, ascending by address.

    A name is "" when only `.eh_frame` knows the function. Sizes are bytes, 0 when unknown.
    `records` are those of `scan` for the instruction at each entry.
    """

    image: Image
    names: list[str]
    sizes: NDArray[np.uint64]
    records: NDArray[np.void]
    code: CodeMap

    def __len__(self) -> int:
        return len(self.names)

    @property
    def addresses(self) -> NDArray[np.uint64]:
        """The addresses of the entries."""
        found: NDArray[np.uint64] = self.records["address"]
        return found

    def refusals(self, index: int) -> Mapping[Method, Reason]:
        """Give the reasons against each method at one entry."""
        return refusals(int(self.records["verdict"][index]))

    def allowing(self, *methods: Method) -> NDArray[np.bool_]:
        """Tell for each entry whether any of these methods may be used."""
        bits = sum(1 << METHODS.index(method) for method in methods)
        found: NDArray[np.bool_] = (self.records["methods"] & np.uint8(bits)) != 0
        return found

    def where(self, keep: NDArray[np.bool_]) -> "Entries":
        """Give the entries for which the mask is true."""
        chosen = np.flatnonzero(keep).tolist()
        names = [self.names[index] for index in chosen]
        return Entries(self.image, names, self.sizes[keep], self.records[keep], self.code)

    def renamed(self, name: str) -> "Entries":
        """Give the same entries under another of their names."""
        return Entries(self.image, [name] * len(self), self.sizes, self.records, self.code)

    def at(self, address: int, name: str) -> "Entries":
        """Look at one instruction in the same way; errors as those of `Image.read`."""
        image = self.image
        found = image.read(address, image.arch.max_length)
        records = scan(found, address, image.arch, starts=[0])
        _refuse_jumps(records, self.code)
        return Entries(image, [name], np.zeros(1, np.uint64), records, self.code)

    def instruction(self, index: int) -> str:
        """Write the instruction at one entry as text; its bytes when there is none."""
        record = self.records[index]
        address = int(record["address"])
        if not record["length"]:
            return f"({self.image.read(address, 4).hex(' ')})"
        return self.image.instruction_at(address).text


def entries(image: Image, code: CodeMap | None = None) -> Entries:
    """Find the functions of a file, and look at their first instructions.

    Functions are known by symbols and unwind entries. Of several names for one address the most
    public one is taken. Cold parts of functions and the procedure linkage table are left out.
    Whether `jump` may be used takes the whole window into account. MalformedFile passes through.
    """
    symbols, code = image.functions, code or CodeMap(image)
    named, first = np.unique(symbols.addresses, return_index=True)
    unnamed = np.setdiff1d(code.functions, np.union1d(named, code.parts))
    for start, end in image.plt_ranges:
        unnamed = unnamed[(unnamed < np.uint64(start)) | (unnamed >= np.uint64(end))]
    addresses = np.concatenate([named, unnamed])
    order = np.argsort(addresses, kind="stable")
    parts = list(_records(image, addresses[order]))
    records = np.concatenate(parts) if parts else np.empty(0, RECORD)
    kept = order[np.isin(addresses[order], records["address"])]
    names = [symbols.names[index] for index in first.tolist()] + [""] * len(unnamed)
    ends = code.function_ends[np.searchsorted(code.functions, records["address"])]
    sizes = np.where(ends == _NO_END, np.uint64(0), ends - records["address"])
    _refuse_jumps(records, code)
    return Entries(image, [names[index] for index in kept.tolist()], sizes, records, code)


def _refuse_jumps(records: NDArray[np.void], code: CodeMap) -> None:
    """Take `jump` away where no form of it fits, though the instruction does not forbid it."""
    rows = Windows(code).judge(records["address"])
    reasons = np.where(rows["form"] == 0, rows["reason"], 0)
    bit = np.uint8(1 << METHODS.index(Method.JUMP))
    wrong = np.flatnonzero((reasons != 0) & (records["methods"] & bit != 0))
    records["methods"][wrong] &= ~bit
    pairs = records["verdict"][wrong].astype(np.int64) << 8 | reasons[wrong]
    for pair in np.unique(pairs).tolist():
        reason = REASONS[pair & 0xFF]
        assert reason is not None
        number = verdict_number({**refusals(pair >> 8), Method.JUMP: reason})
        records["verdict"][wrong[pairs == pair]] = number


def _bounds(start: int, end: int) -> NDArray[np.uint64]:
    highest = int(_NO_END)
    return np.array([min(start, highest), min(end, highest)], np.uint64)


def _records(image: Image, addresses: NDArray[np.uint64]) -> Iterator[NDArray[np.void]]:
    reached = 0
    for segment in image.segments:
        start = max(segment.address, reached)
        low, high = np.searchsorted(addresses, _bounds(start, segment.file_end))
        if segment.executable and high > low:
            reached = segment.file_end
            code = image.loaded(segment)
            starts = (addresses[low:high] - np.uint64(segment.address)).astype(np.intp)
            yield scan(code, segment.address, image.arch, starts=starts)
