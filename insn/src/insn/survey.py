"""The functions of a file with the verdict on the first instruction of each, all at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from insn.bulk import refusals, scan
from insn.elf import Image
from insn.forms import METHODS, RECORD
from insn.model import Method, Reason


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
        return Entries(self.image, names, self.sizes[keep], self.records[keep])

    def instruction(self, index: int) -> str:
        """Write the instruction at one entry as text; its bytes when there is none."""
        record = self.records[index]
        address = int(record["address"])
        if not record["length"]:
            return f"({self.image.read(address, 4).hex(' ')})"
        return self.image.instruction_at(address).text


def entries(image: Image) -> Entries:
    """Find the functions of a file, and look at their first instructions.

    Functions are known by symbols and unwind entries. Of several names for one address the most
    public one is taken. The procedure linkage table is left out. MalformedFile passes through.
    """
    symbols, frames = image.functions, image.frames
    named, first = np.unique(symbols.addresses, return_index=True)
    unnamed = np.setdiff1d(frames.starts, named)
    for start, end in image.plt_ranges:
        unnamed = unnamed[(unnamed < np.uint64(start)) | (unnamed >= np.uint64(end))]
    addresses = np.concatenate([named, unnamed])
    names = [symbols.names[index] for index in first.tolist()] + [""] * len(unnamed)
    sizes = np.concatenate([symbols.sizes[first], np.zeros(len(unnamed), np.uint64)])
    # Symbols of assembler functions may lack a size that the unwind entry has.
    place = np.minimum(np.searchsorted(frames.starts, addresses), max(len(frames.starts) - 1, 0))
    if len(frames.starts):
        fits = (frames.starts[place] == addresses) & (sizes == 0)
        sizes[fits] = (frames.ends - frames.starts)[place[fits]]
    order = np.argsort(addresses, kind="stable")
    parts = list(_records(image, addresses[order]))
    records = np.concatenate(parts) if parts else np.empty(0, RECORD)
    found = np.isin(addresses[order], records["address"])
    kept = order[found]
    return Entries(image, [names[index] for index in kept.tolist()], sizes[kept], records)


def _records(image: Image, addresses: NDArray[np.uint64]) -> Iterator[NDArray[np.void]]:
    reached = 0
    for segment in image.segments:
        start = max(segment.address, reached)
        low, high = np.searchsorted(addresses, np.array([start, segment.file_end], np.uint64))
        if segment.executable and high > low:
            reached = segment.file_end
            code = image.read(segment.address, segment.file_size)
            starts = (addresses[low:high] - np.uint64(segment.address)).astype(np.intp)
            yield scan(code, segment.address, image.arch, starts=starts)
