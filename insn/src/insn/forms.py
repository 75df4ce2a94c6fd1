"""The forms of instructions: what is true of one wherever it stands, kept in flat arrays.

A form is learned once, by decoding and judging one instruction of that form with the same rows as
everything else; from then on arrays of instructions are answered by looking its number up.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from insn.arch import Arch
from insn.errors import InsnError
from insn.model import Flow, Instruction, Method, PcRelativeKind, Reason

Found = NDArray[np.uint16]
"""Numbers of forms, with how many prefixes were stripped."""
METHODS: tuple[Method, ...] = tuple(Method)
"""Bit n of a record's `methods` stands for the n-th of these."""
FLOWS: tuple[Flow | None, ...] = (None, *Flow)
"""What the numbers in `flow` mean; 0: no instruction."""
KINDS: tuple[PcRelativeKind | None, ...] = (None, *PcRelativeKind)
"""What the numbers in `kind` mean; 0: no pc-relative operand."""

RECORD = np.dtype(
    [
        ("address", "<u8"),
        ("length", "u1"),
        ("flow", "u1"),
        ("offset", "u1"),
        ("size", "u1"),
        ("kind", "u1"),
        ("methods", "u1"),
        ("verdict", "<u2"),
        ("target", "<u8"),
    ]
)
"""One scanned instruction, 24 bytes.

`address` and `length` (bytes; 0: no instruction begins here); `flow` indexes `FLOWS`; `offset`,
`size` and `kind` (indexes `KINDS`) describe the pc-relative field, all 0 when there is none;
`target` is the address it names (of a direct branch: where it goes); `methods` has bit n set when
`METHODS[n]` may be used; `verdict` is for `refusals`.
"""

_FLOW_NUMBERS = {flow: number for number, flow in enumerate(FLOWS)}
_KIND_NUMBERS = {kind: number for number, kind in enumerate(KINDS)}
_EVERY_METHOD = (1 << len(METHODS)) - 1

Refusals = Mapping[Method, Reason]

_verdicts: list[Refusals] = [MappingProxyType({})]
_verdict_numbers: dict[tuple[tuple[Method, Reason], ...], int] = {(): 0}
_shared: dict[int, int] = {}


def refusals(verdict: int) -> Refusals:
    """Give the reasons against each method that the number in a record's `verdict` stands for.

    Numbers are valid within this process; `Scan` results that crossed processes were renumbered.
    """
    return _verdicts[verdict]


def verdict_number(found: Refusals) -> int:
    """Give the number that stands for these reasons, the same one for equal reasons."""
    key = tuple(found.items())
    number = _verdict_numbers.get(key)
    if number is None:
        number = _verdict_numbers[key] = len(_verdicts)
        _verdicts.append(MappingProxyType(dict(found)))
    return number


def method_bits(found: Refusals) -> int:
    """Give the bits of the methods that are not refused."""
    return sum(1 << n for n, method in enumerate(METHODS) if method not in found)


def refuse_all(code: str, why: str, hint: str = "") -> Refusals:
    """Make the reasons for something that no method may be used on."""
    return dict.fromkeys(METHODS, Reason(code, why, hint))


# Where a form is learned: far from any place at which a target would wrap around.
_PLACE = {16: 0x61230000, 32: 0x61230000, 64: 0x612345670000}
_WRAPS = ((1 << 64) - 1, 0xFFFFFFFF, 0xFFFF)

STEP, STEP_BITS = 15, 4
"""The bits of a form's number that say how far it is to what follows, and how many they are."""
NUMBER_BITS = 12
NUMBERS = 1 << NUMBER_BITS
"""Numbers of forms are below. Rows and reasons make some hundred forms, whatever the code is."""
UNKNOWN = 0
"""No form has this number."""
NOTHING = 1
"""The form of bytes that are no instruction."""
ABSENT: dict[str, Refusals] = {
    "undecodable": refuse_all(
        "undecodable",
        "no instruction begins with these bytes",
        "probe the start of an instruction",
    ),
    "truncated": refuse_all(
        "truncated", "the code ends before the instruction does", "hand in the bytes behind it, too"
    ),
}
"""Why no method may be used where no instruction is."""


class Forms:
    """The forms learned so far for one architecture, in flat arrays by number.

    Forms of which the same is true share a number. Its low bits (`STEP`) are the distance to what
    follows: the length, or 1 where no instruction is. Lengths and offsets count from behind the
    prefixes that were stripped before a form was looked up; how many they were is added to the
    number, times `NUMBERS`.

    `masks` are the bits that a target can have, by number.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self._numbers: dict[tuple[int, int], int] = {}
        self._counts = [0] * (STEP + 1)
        self._parts = np.zeros((STEP + 1, NUMBERS), np.uint64)
        self.masks: NDArray[np.uint64] = np.zeros(NUMBERS, np.uint64)
        for found in ABSENT.values():
            self._add(0, 0, 0, 0, 0, found, 0)
        self._by_code: dict[bytes, int] = {}

    @property
    def parts(self) -> NDArray[np.uint64]:
        """The middle eight bytes of a record, by number and stripped prefixes."""
        return self._parts.reshape(-1)

    def _add(
        self, length: int, flow: int, offset: int, size: int, kind: int, found: Refusals, mask: int
    ) -> int:
        fields = (length, flow, offset, size, kind, method_bits(found))
        packed = sum(value << 8 * place for place, value in enumerate(fields))
        packed |= verdict_number(found) << 48
        number = self._numbers.get((packed, mask))
        if number is not None:
            return number
        step = max(length, 1)
        number = self._counts[step] << STEP_BITS | step
        assert number < NUMBERS, "more forms than rows and reasons can make"
        self._counts[step] += 1
        self._numbers[packed, mask] = number
        self.masks[number] = mask
        growth = (length > 0) + (1 << 16) * (size > 0)
        for stripped in range(STEP + 1):
            # What gets longer than an instruction may be is nothing.
            fits = length + stripped <= self.arch.max_length
            nothing = int(self._parts[0, NOTHING])
            self._parts[stripped, number] = packed + growth * stripped if fits else nothing
        return number

    def learn(self, code: bytes, stripped: int) -> int:
        """Learn the form of what `code` begins with, its `stripped` first prefixes not counted."""
        try:
            instruction = self.arch.decode(code, _PLACE[self.arch.bits])
        except InsnError as error:
            if error.code == "undecodable":
                return NOTHING
            return self._add(0, 0, 0, 0, 0, ABSENT[error.code], 0)
        found = self.arch.judge(instruction).refusals
        relative = instruction.pc_relative
        offset, size, kind = (
            (relative.offset - stripped, relative.size, _KIND_NUMBERS[relative.kind])
            if relative
            else (0, 0, 0)
        )
        return self._add(
            instruction.length - stripped,
            _FLOW_NUMBERS[instruction.flow],
            offset,
            size,
            kind,
            found,
            _wrap(instruction),
        )

    def exactly(self, code: bytes) -> int:
        """Give the form of the instruction that `code` begins with, by its bytes alone."""
        number = self._by_code.get(code)
        if number is None:
            if len(self._by_code) >= 1 << 14:
                self._by_code.clear()
            number = self._by_code[code] = self.learn(code, 0)
        return number


def _wrap(instruction: Instruction) -> int:
    """Find the bits that the target of a pc-relative operand of this form can have."""
    relative = instruction.pc_relative
    if relative is None:
        return 0
    field = instruction.code[relative.offset : relative.offset + relative.size]
    full = instruction.end + int.from_bytes(field, instruction.arch.byte_order, signed=True)
    for mask in _WRAPS[instruction.arch.bits != 64 :]:
        if full & mask == relative.target:
            return mask
    raise AssertionError(f"the target of {instruction} does not follow from its displacement")


class FormIndex:
    """Numbers of forms by key: two hash tables in flat arrays, for arrays of keys."""

    _FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
    _VACANT = np.uint64((1 << 64) - 1)

    def __init__(self, bits: int = 14) -> None:
        self._known: dict[int, int] = {}
        self._resize(bits)

    def _resize(self, bits: int) -> None:
        self._bits = bits
        self._shift = np.uint64(64 - bits)
        self._keys = [np.full(1 << bits, self._VACANT) for _ in self._FACTORS]
        self._numbers = [np.zeros(1 << bits, np.int64) for _ in self._FACTORS]
        for key, number in self._known.items():
            if not self._place(key, number):
                self._resize(bits + 1)
                return

    def _place(self, key: int, number: int) -> bool:
        for factor, keys, numbers in zip(self._FACTORS, self._keys, self._numbers, strict=True):
            slot = (key * int(factor) & (1 << 64) - 1) >> int(self._shift)
            if keys[slot] == self._VACANT:
                keys[slot] = key
                numbers[slot] = number
                return True
        return False

    def add(self, key: int, number: int) -> None:
        """Remember the number of a key that is not known yet."""
        self._known[key] = number
        if not self._place(key, number):
            self._resize(self._bits + 1)

    def find(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """Look keys up: their numbers, and where keys are that are `UNKNOWN`."""
        slots = (keys * self._FACTORS[0] >> self._shift).view(np.int64)
        numbers = self._numbers[0].take(slots)
        missed = (self._keys[0].take(slots) != keys).nonzero()[0]
        if len(missed):
            rest = keys[missed]
            slots = (rest * self._FACTORS[1] >> self._shift).view(np.int64)
            unknown = self._keys[1].take(slots) != rest
            second = self._numbers[1].take(slots)
            second[unknown] = UNKNOWN
            numbers[missed] = second
            missed = missed[unknown]
        return numbers, missed
