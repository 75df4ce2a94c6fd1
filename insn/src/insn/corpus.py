"""Scans whole files, one or many, here or spread over processes and machines."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from insn.elf import open_image
from insn.errors import InsnError
from insn.forms import FLOWS, METHODS, RECORD, Refusals, refusals, verdict_number
from insn.model import Method
from insn.survey import Entries, entries
from insn.targets import CodeMap

FUNCTION = np.dtype(
    [
        ("address", "<u8"),
        ("size", "<u8"),
        ("instructions", "<u4"),
        ("undecoded", "<u4"),
        ("allowed", "<u4", (len(METHODS),)),
        ("entry", "u1"),
    ]
)
"""One function: `allowed[n]` of its instructions permit `METHODS[n]`.

The bits of `entry` are the methods of its first one, the window of a jump taken into account.
"""


@dataclass(frozen=True)
class FileScan:
    """Everything about one file's code.

    `records` are all instructions, as `scan` gives them, decoded anew at each function; `functions`
    one row of `FUNCTION` for each of `names`. When the file cannot be read, `error` says why and
    the arrays are empty.
    """

    path: str
    arch: str = ""
    code_bytes: int = 0
    records: NDArray[np.void] = field(default_factory=lambda: np.empty(0, RECORD))
    functions: NDArray[np.void] = field(default_factory=lambda: np.empty(0, FUNCTION))
    names: tuple[str, ...] = ()
    entry_verdicts: NDArray[np.uint16] = field(default_factory=lambda: np.empty(0, np.uint16))
    error: InsnError | None = None

    @property
    def undecoded(self) -> int:
        """How many bytes of the code are part of no instruction."""
        return int((self.records["length"] == 0).sum())

    def flows(self) -> dict[str, int]:
        """Count the instructions by flow."""
        counts = np.bincount(self.records["flow"], minlength=len(FLOWS)).tolist()
        return {flow.value: counts[n] for n, flow in enumerate(FLOWS) if flow and counts[n]}

    def refused(self, verdicts: NDArray[np.uint16] | None = None) -> dict[Method, Counter[str]]:
        """Count for each method what stands against it, in all instructions or these verdicts."""
        if verdicts is None:
            verdicts = self.records["verdict"][self.records["length"] > 0]
        found: dict[Method, Counter[str]] = {method: Counter() for method in METHODS}
        for number, count in zip(*np.unique(verdicts, return_counts=True), strict=True):
            for method, reason in refusals(int(number)).items():
                found[method][reason.code] += int(count)
        return found


def scan_file(path: str | os.PathLike[str]) -> FileScan:
    """Scan one ELF file.

    An error of this package becomes the result's `error`; OSError passes through.
    """
    name = os.fspath(path)
    try:
        image = open_image(name)
        code = CodeMap(image)
        records = code.instructions
        found = entries(image, code)
    except InsnError as error:
        return FileScan(name, error=error)
    size = sum(len(stretch.code) for stretch in image.text)
    functions = _functions(records, found)
    verdicts = found.records["verdict"].astype(np.uint16)
    return FileScan(name, image.arch.name, size, records, functions, tuple(found.names), verdicts)


def _functions(records: NDArray[np.void], found: Entries) -> NDArray[np.void]:
    rows = np.zeros(len(found), FUNCTION)
    rows["address"], rows["size"] = found.addresses, found.sizes
    rows["entry"] = found.records["methods"]
    if not len(records) or not len(rows):
        return rows
    starts = np.searchsorted(records["address"], rows["address"])
    ends = np.searchsorted(records["address"], rows["address"] + rows["size"])
    ends = np.maximum(ends, starts)

    def count(what: NDArray[np.bool_]) -> NDArray[np.int64]:
        before = np.concatenate([[0], np.cumsum(what)])
        inside: NDArray[np.int64] = before[ends] - before[starts]
        return inside

    decoded = records["length"] > 0
    rows["instructions"] = count(decoded)
    rows["undecoded"] = count(~decoded)
    for bit in range(len(METHODS)):
        rows["allowed"][:, bit] = count(records["methods"] >> bit & 1 == 1)
    return rows


_Shipped = tuple[FileScan, dict[int, Refusals]]


def _ship(path: str) -> _Shipped:
    """Scan a file in another process, whose numbers of verdicts differ: send what they mean."""
    found = scan_file(path)
    numbers = np.union1d(found.records["verdict"], found.entry_verdicts).tolist()
    return found, {number: dict(refusals(number)) for number in numbers}


def _unpack(shipped: _Shipped) -> FileScan:
    found, meanings = shipped
    if found.error is not None:
        return found
    own = np.zeros(1 << 16, np.uint16)
    for number, meaning in meanings.items():
        own[number] = verdict_number(meaning)
    records = found.records.copy()
    records["verdict"] = own[records["verdict"]]
    return FileScan(
        found.path,
        found.arch,
        found.code_bytes,
        records,
        found.functions,
        found.names,
        own[found.entry_verdicts],
    )


def scan_files(
    paths: Iterable[str | os.PathLike[str]], executor: Executor | None = None
) -> Iterator[FileScan]:
    """Scan many files, in their order.

    The work is done here, or by any executor of `concurrent.futures`: process pools, and the
    executors of dask and ray, which reach other machines, all serve. OSError passes through.
    """
    names = [os.fspath(path) for path in paths]
    if executor is None:
        yield from map(scan_file, names)
    else:
        yield from map(_unpack, executor.map(_ship, names))
