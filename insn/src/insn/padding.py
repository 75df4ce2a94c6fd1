"""Padding between pieces of code: what assemblers fill gaps with, where nothing arrives."""

import numpy as np
from numpy.typing import NDArray

from insn.forms import FLOWS
from insn.model import Flow
from insn.targets import Addresses, CodeMap

LEAVES = [FLOWS.index(flow) for flow in (Flow.JUMP, Flow.INDIRECT_JUMP, Flow.RETURN, Flow.FAR)]
"""The flows (as records number them) after which control does not go on to what follows."""
_MOST_PREFIXES = 12
_PREFIXES = (0x66, 0x2E)


def is_padding(code: CodeMap) -> NDArray[np.bool_]:
    """Tell of each instruction whether it is one that assemblers fill gaps with."""
    records = code.instructions
    found = np.zeros(len(records), np.bool_)
    for stretch in code.image.text:
        inside = (records["address"] >= stretch.address) & (records["address"] < stretch.end)
        places = np.flatnonzero(inside)
        text = np.frombuffer(stretch.code, np.uint8)
        at = (records["address"][places] - np.uint64(stretch.address)).astype(np.intp)
        last = len(text) - 1
        prefixed = np.isin(text[at], _PREFIXES)
        # What is written over unused memory, and NOPs: of one byte, and those with an operand.
        for _ in range(_MOST_PREFIXES):
            more = np.flatnonzero(np.isin(text[at], _PREFIXES))
            if not len(more):
                break
            at[more] = np.minimum(at[more] + 1, last)
        first, second = text[at], text[np.minimum(at + 1, last)]
        fill = np.isin(first, (0xCC, *code.image.arch.fill)) & ~prefixed
        found[places] = fill | (first == 0x90) | ((first == 0x0F) & (second == 0x1F))
    return found & (records["length"] > 0)


def runs(code: CodeMap, padding: NDArray[np.bool_]) -> tuple[Addresses, Addresses]:
    """Find the bytes that are proved to be padding: starts and ends of them, ascending.

    Control leaves for good right before each of them, at the end of code of a known function (data
    may look like that by chance), and arrives nowhere inside.
    """
    records = code.instructions
    starts = records["address"]
    ends = starts + records["length"].astype(np.uint64)
    joined = np.zeros(len(records), np.bool_)
    joined[1:] = ends[:-1] == starts[1:]
    leaves = np.isin(records["flow"], LEAVES) & (records["length"] > 0)
    entered = np.zeros(len(records), np.bool_)
    at = np.searchsorted(starts, code.entries)
    at = np.minimum(at, len(starts) - 1)
    entered[at[starts[at] == code.entries]] = True
    first = np.zeros(len(records), np.bool_)
    first[1:] = padding[1:] & leaves[:-1] & joined[1:] & ~entered[1:]
    # A run goes on while what follows is padding, joined, and not entered.
    more = padding & joined & ~entered & ~first
    stop = np.flatnonzero(~more)
    begin = np.flatnonzero(first)
    after = np.searchsorted(stop, begin, side="right")
    last = np.where(after < len(stop), stop[np.minimum(after, len(stop) - 1)], len(records)) - 1
    low, high = starts[begin], ends[last]
    behind_code = code.in_functions(starts[begin - 1])
    low, high = low[behind_code], high[behind_code]
    # An entry that is no start of an instruction cuts it short, too.
    if len(code.entries):
        following = np.searchsorted(code.entries, low)
        nearest = code.entries[np.minimum(following, len(code.entries) - 1)]
        cut = (following < len(code.entries)) & (nearest < high)
        high = np.where(cut, nearest, high)
    return low, high


def slots(low: Addresses, high: Addresses, size: int) -> Addresses:
    """Cut runs into pieces of `size` bytes: the address of each, ascending."""
    counts = ((high - low) // np.uint64(size)).astype(np.intp)
    firsts = np.repeat(low, counts)
    within = np.arange(len(firsts)) - np.repeat(np.cumsum(counts) - counts, counts)
    found: Addresses = firsts + within.astype(np.uint64) * np.uint64(size)
    return found


def without(pieces: Addresses, size: int, low: Addresses, high: Addresses) -> Addresses:
    """Leave out the pieces of `size` bytes that touch any of the ranges."""
    order = np.argsort(low)
    low, high = low[order], high[order]
    if not len(low):
        return pieces
    reach = np.maximum.accumulate(high)
    before = np.searchsorted(low, pieces + np.uint64(size)).astype(np.intp) - 1
    free = (before < 0) | (reach[np.maximum(before, 0)] <= pieces)
    kept: Addresses = pieces[free]
    return kept


def assign(wanted: Addresses, pieces: Addresses, back: int, ahead: int) -> NDArray[np.int64]:
    """Give each of `wanted` (ascending) a piece of its own, -1 where none is left.

    A piece serves from `back` bytes before to `ahead` bytes behind an address. The first free one
    for each is the best choice, since all reach equally far.
    """
    found = np.full(len(wanted), -1, np.int64)
    free = 0
    firsts = np.searchsorted(pieces, np.maximum(wanted, np.uint64(back)) - np.uint64(back))
    beyond = np.searchsorted(pieces, wanted + np.uint64(ahead), side="right")
    for n, (low, high) in enumerate(zip(firsts.tolist(), beyond.tolist(), strict=True)):
        piece = max(low, free)
        if piece < high:
            found[n] = piece
            free = piece + 1
    return found


def nearest(wanted: Addresses, pieces: Addresses, back: int, ahead: int) -> NDArray[np.int64]:
    """Find for each of `wanted` a piece that serves it, whoever else wants it; -1 where none."""
    firsts = np.searchsorted(pieces, np.maximum(wanted, np.uint64(back)) - np.uint64(back))
    beyond = np.searchsorted(pieces, wanted + np.uint64(ahead), side="right")
    return np.where(firsts < beyond, firsts, -1)
