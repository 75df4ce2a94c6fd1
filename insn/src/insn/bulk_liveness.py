"""Which registers and flags are dead before many instructions at once.

Every way from each instruction is followed, all of them side by side: what is read before it is
written is live, and so is whatever is neither when the way leads out of sight. The answers are
those of `liveness.dead_before` or more careful ones, but for flags at the start of functions.
"""

import importlib
from collections.abc import Callable
from functools import cache, cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from insn.arch import Arch
from insn.bulk import USES
from insn.forms import FLOWS
from insn.liveness import Dead
from insn.model import Flow
from insn.stretch import Stretch
from insn.targets import CodeMap

Bits = NDArray[np.uint32]
_Indices = NDArray[np.int64]

_FOLLOWED = 32
"""After so many instructions a way counts as out of sight."""
_MOST_WAYS = 12
"""With more ways than this from one place at once, all of them count as out of sight."""
_NEXT, _JUMP, _CONDITIONAL, _CALL, _INDIRECT_CALL, _RETURN, _SYSTEM_CALL = (
    FLOWS.index(flow)
    for flow in (
        Flow.NEXT, Flow.JUMP, Flow.CONDITIONAL_JUMP, Flow.CALL, Flow.INDIRECT_CALL, Flow.RETURN,
        Flow.SYSTEM_CALL,
    )
)  # fmt: skip


class Uses(Protocol):
    """What an architecture provides: see `x86_uses`."""

    names: tuple[str, ...]
    """The registers that the bits from 0 on stand for."""
    flags: tuple[str, ...]
    """The flags that the bits from 16 on stand for."""
    registers_mask: np.uint32
    flags_mask: np.uint32

    def find(self, rows: NDArray[np.uint8], lengths: NDArray[np.uint8]) -> tuple[Bits, Bits]:
        """Tell what instructions read and write, by rows of 16 bytes of code."""


_FLAGS_AT, _WIDTH = 16, 16
_STRICT = np.uint32(1 << 31)
"""Marks a way on which flags are live when it leads out of sight: all but those from a function's
start on. Where ways meet, the stricter one counts."""


@cache
def _uses(arch: Arch) -> Uses:
    module, name = USES[arch.name]
    made: Callable[[Arch], Uses] = getattr(importlib.import_module(module), name)
    return made(arch)


class Liveness:
    """Answers for one file; what was found out about its instructions is kept."""

    def __init__(self, code: CodeMap) -> None:
        self.map = code
        self._uses = _uses(code.image.arch)
        records = code.instructions
        count = len(records)
        self._starts = np.ascontiguousarray(records["address"])
        self._flows = np.ascontiguousarray(records["flow"])
        self._lengths = np.ascontiguousarray(records["length"])
        self._known = np.zeros(count, np.bool_)
        self._reads = np.zeros(count, np.uint32)
        self._writes = np.zeros(count, np.uint32)
        self._names: dict[int, Dead] = {}

    @cached_property
    def _texts(self) -> list[tuple[Stretch, NDArray[np.uint8], int, int]]:
        """The stretches of code, padded, with the range of instructions in each."""
        found = []
        for stretch in self.map.image.text:
            bounds = np.array([stretch.address, min(stretch.end, (1 << 64) - 1)], np.uint64)
            low, high = np.searchsorted(self._starts, bounds).tolist()
            text = np.concatenate([np.frombuffer(stretch.code, np.uint8), np.zeros(_WIDTH, "u1")])
            found.append((stretch, text, low, high))
        return found

    def dead(
        self, addresses: ArrayLike, *, conventions: bool = True, flags_across_calls: bool = False
    ) -> Bits:
        """Tell for each address what may be overwritten before the instruction there.

        Bit n stands for the n-th of `registers`, bit 16 + n for the n-th of `flags`; `named` turns
        one number into names. The stack pointer is never dead, and nothing is where no instruction
        is known. Registers are live at calls, returns and where the way leads out of sight: a
        compiler that knows a called function keeps values in any of them. Flags are dead at
        returns; at a direct call they are what they are at the start of the called function. At a
        function's start they are live only if it is seen to read them (some functions in assembler
        do), since no calling convention passes any: without `conventions` that does not count, and
        out of sight they are live even there. With `flags_across_calls` they are live at all calls
        and returns.
        """
        wanted = np.asarray(addresses, np.uint64)
        uses = self._uses
        everything = uses.registers_mask | uses.flags_mask
        own = np.uint32(1 << self.registers.index(self.map.image.arch.stack_pointer))
        live = np.full(len(wanted), own, np.uint32)
        at = self._index(wanted)
        live[at < 0] = everything
        site = np.flatnonzero(at >= 0)
        at = at[site]
        pending = np.full(len(site), everything | _STRICT, np.uint32)
        if conventions:
            pending[np.isin(wanted[site], self._called)] = everything
        seen: list[tuple[_Indices, Bits]] = []
        for _ in range(_FOLLOWED):
            if not len(site):
                break
            self._find_out(at)
            reads, flow = self._reads[at], self._flows[at]
            # That the kernel is given the flags is of no interest to it: that is out of sight.
            reads = np.where(flow == _SYSTEM_CALL, reads & uses.registers_mask, reads)
            _mark(live, site, pending & reads)
            pending = pending & ~(reads | self._writes[at])
            calls = (flow == _CALL) | (flow == _INDIRECT_CALL) | (flow == _RETURN)
            at_exit = everything if flags_across_calls else uses.registers_mask
            _mark(live, site[calls], pending[calls] & at_exit)
            pending[calls] &= uses.flags_mask
            goes_on = (flow == _NEXT) | (flow == _CONDITIONAL)
            jumps = (flow == _JUMP) | (flow == _CONDITIONAL) | (flow == _CALL)
            lost = ~(calls | goes_on | jumps)
            self._lose(live, site[lost], pending[lost])
            following = self._following(at[goes_on])
            targets = self._index(self.map.instructions["target"][at[jumps]])
            around = self._been_there(seen, site[jumps], targets, pending[jumps], at[jumps])
            site = np.concatenate([site[goes_on], site[jumps][~around]])
            pending = np.concatenate([pending[goes_on], pending[jumps][~around]])
            at = np.concatenate([following, targets[~around]])
            site, at, pending = self._joined(site, at, pending, live)
            if len(site):
                seen.append((site * len(self._starts) + at, pending))
        self._lose(live, site, pending)
        found: Bits = everything & ~live
        return found

    def _been_there(
        self,
        seen: list[tuple[_Indices, Bits]],
        site: _Indices,
        to: _Indices,
        pending: Bits,
        at: _Indices,
    ) -> NDArray[np.bool_]:
        """Tell which jumps back lead to where the same, or more, was open already: loops."""
        found = np.zeros(len(site), np.bool_)
        back = np.flatnonzero((to >= 0) & (to <= at))
        if not len(back):
            return found
        wanted, open_now = site[back] * len(self._starts) + to[back], pending[back]
        known = np.zeros(len(back), np.bool_)
        for keys, open_then in seen:
            place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            known |= (keys[place] == wanted) & (open_now & ~open_then[place] == 0)
        found[back] = known
        return found

    @cached_property
    def _called(self) -> NDArray[np.uint64]:
        """The functions; not what may be a cold part of one, to which conditions are passed."""
        records = self.map.instructions
        jumped = records["target"][np.isin(records["flow"], (_JUMP, _CONDITIONAL))]
        called = records["target"][records["flow"] == _CALL]
        functions = self.map.functions
        return functions[~np.isin(functions, jumped) | np.isin(functions, called)]

    def _lose(self, live: Bits, site: _Indices, pending: Bits) -> None:
        """Count what is open where the way leads out of sight as live."""
        uses = self._uses
        strict = pending & _STRICT != 0
        _mark(live, site, pending & np.where(strict, ~_STRICT, uses.registers_mask))

    def _index(self, addresses: NDArray[np.uint64]) -> _Indices:
        """Find the instructions at these addresses, -1 where none starts."""
        if not len(self._starts):
            return np.full(len(addresses), -1)
        index = np.minimum(np.searchsorted(self._starts, addresses), len(self._starts) - 1)
        found = (self._starts[index] == addresses) & (self._lengths[index] > 0)
        return np.where(found, index, -1)

    def _following(self, at: _Indices) -> _Indices:
        """Find the instructions right behind these, -1 where there is none."""
        index = np.minimum(at + 1, len(self._starts) - 1)
        joined = self._starts[index] == self._starts[at] + self._lengths[at]
        return np.where(joined & (self._lengths[index] > 0), index, -1)

    def _find_out(self, at: _Indices) -> None:
        """Find out what these instructions use, those of which it is not known yet."""
        new = np.unique(at[~self._known[at]])
        for stretch, text, low, high in self._texts:
            here = new[(new >= low) & (new < high)]
            if not len(here):
                continue
            places = (self._starts[here] - np.uint64(stretch.address)).astype(np.intp)
            rows = text[places[:, None] + np.arange(_WIDTH)]
            self._reads[here], self._writes[here] = self._uses.find(rows, self._lengths[here])
        self._known[new] = True

    def _joined(
        self, site: _Indices, at: _Indices, pending: Bits, live: Bits
    ) -> tuple[_Indices, _Indices, Bits]:
        """Join ways that met, and end those on which nothing is open any more, or out of sight."""
        lost = at < 0
        self._lose(live, site[lost], pending[lost])
        # What is live on one way already is of no interest on another.
        pending = pending & ~live[site]
        kept = ~lost & (pending & ~_STRICT != 0)
        site, at, pending = site[kept], at[kept], pending[kept]
        order = np.argsort(site * len(self._starts) + at)
        site, at, pending = site[order], at[order], pending[order]
        if not len(site):
            return site, at, pending
        first = np.ones(len(site), np.bool_)
        first[1:] = (site[1:] != site[:-1]) | (at[1:] != at[:-1])
        begins = np.flatnonzero(first)
        pending = np.bitwise_or.reduceat(pending, begins)
        site, at = site[begins], at[begins]
        ways = np.bincount(site, minlength=len(live))
        many = ways[site] > _MOST_WAYS
        self._lose(live, site[many], pending[many])
        return site[~many], at[~many], pending[~many]

    @property
    def registers(self) -> tuple[str, ...]:
        """The registers that the bits from 0 on stand for."""
        return self._uses.names

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that the bits from 16 on stand for."""
        return self._uses.flags

    def named(self, bits: int) -> Dead:
        """Turn one answer of `dead` into names."""
        found = self._names.get(bits)
        if found is None:
            registers = (name for n, name in enumerate(self.registers) if bits >> n & 1)
            flags = (name for n, name in enumerate(self.flags) if bits >> n + _FLAGS_AT & 1)
            found = self._names[bits] = Dead(frozenset(registers), frozenset(flags))
        return found


def _mark(live: Bits, site: _Indices, bits: Bits) -> None:
    """Make bits of sites live; a site may occur several times."""
    np.bitwise_or.at(live, site, bits)
