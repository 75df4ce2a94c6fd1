"""Where a function's caller finds its registers again: the rules of one entry of `.eh_frame`.

Sources: DWARF 5, §6.4 (call frame information) and §2.5 (expressions); Linux Standard Base,
"Exception Frames" (augmentations).
"""

import enum
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from insn.elf import Image
from insn.errors import MalformedFile
from insn.frames import Cursor

MASK = (1 << 64) - 1
MOST = 10_000
"""Instructions of an entry or an expression beyond which it is taken to be broken."""


class How(enum.Enum):
    """How a caller's register is found: at an address, or as a value; by an offset from the frame
    address, by an expression, or in another register.
    """

    AT_OFFSET = enum.auto()
    IS_OFFSET = enum.auto()
    AT_EXPRESSION = enum.auto()
    IS_EXPRESSION = enum.auto()
    REGISTER = enum.auto()
    UNDEFINED = enum.auto()


Rule = tuple[How, int | bytes]


@dataclass(slots=True)
class Rules:
    """What holds at one instruction; `frame` is how the frame address (CFA) is found: a register's
    number and an offset, or an expression.
    """

    frame: tuple[int, int] | bytes = (0, 0)
    saved: dict[int, Rule] = field(default_factory=dict)
    return_column: int = 0
    signal: bool = False
    """Whether its caller was interrupted, and did not call."""


class _Reader:
    """Carries an entry's instructions out, up to those for one address."""

    def __init__(self, rules: Rules, factors: tuple[int, int], start: int, encoding: int) -> None:
        self.rules = rules
        self.code_factor, self.data_factor = factors
        self.at = start
        self.encoding = encoding
        self.initial: dict[int, Rule] = {}
        self.kept: list[tuple[tuple[int, int] | bytes, dict[int, Rule]]] = []

    def run(self, cursor: Cursor, end: int, address: int) -> None:
        """Carry out what lies before `end`, as far as it is for code up to `address`."""
        for _ in range(MOST):
            if cursor.at >= end:
                return
            code = cursor.number("B")
            small = code & 0x3F
            if code >> 6:
                code, first = code & 0xC0, [small]
            else:
                first = []
            if code not in INSTRUCTIONS:
                raise MalformedFile(f"unknown unwind instruction {code:#x}")
            operands, act = INSTRUCTIONS[code]
            act(self, *first, *(_OPERANDS[letter](cursor, self.encoding) for letter in operands))
            if self.at > address:
                return

    def advance(self, distance: int) -> None:
        self.at += distance * self.code_factor

    def go_to(self, address: int) -> None:
        self.at = address

    def offset(self, register: int, factored: int) -> None:
        self.rules.saved[register] = How.AT_OFFSET, factored * self.data_factor

    def value_offset(self, register: int, factored: int) -> None:
        self.rules.saved[register] = How.IS_OFFSET, factored * self.data_factor

    def negative_offset(self, register: int, factored: int) -> None:
        self.offset(register, -factored)

    def restore(self, register: int) -> None:
        if register in self.initial:
            self.rules.saved[register] = self.initial[register]
        else:
            self.rules.saved.pop(register, None)

    def undefined(self, register: int) -> None:
        self.rules.saved[register] = How.UNDEFINED, 0

    def same(self, register: int) -> None:
        self.rules.saved.pop(register, None)

    def register(self, register: int, other: int) -> None:
        self.rules.saved[register] = How.REGISTER, other

    def at_expression(self, register: int, expression: bytes) -> None:
        self.rules.saved[register] = How.AT_EXPRESSION, expression

    def is_expression(self, register: int, expression: bytes) -> None:
        self.rules.saved[register] = How.IS_EXPRESSION, expression

    def remember(self) -> None:
        self.kept.append((self.rules.frame, dict(self.rules.saved)))

    def recall(self) -> None:
        if self.kept:
            self.rules.frame, self.rules.saved = self.kept.pop()

    def frame_is(self, register: int, offset: int) -> None:
        self.rules.frame = register, offset

    def frame_is_factored(self, register: int, factored: int) -> None:
        self.rules.frame = register, factored * self.data_factor

    def frame_register(self, register: int) -> None:
        offset = self.rules.frame[1] if isinstance(self.rules.frame, tuple) else 0
        self.rules.frame = register, offset

    def frame_offset(self, offset: int) -> None:
        register = self.rules.frame[0] if isinstance(self.rules.frame, tuple) else 0
        self.rules.frame = register, offset

    def frame_offset_factored(self, factored: int) -> None:
        self.frame_offset(factored * self.data_factor)

    def frame_expression(self, expression: bytes) -> None:
        self.rules.frame = expression

    def nothing(self, *_operands: int) -> None:
        """Do nothing: it says nothing about registers."""


def _block(cursor: Cursor, _encoding: int) -> bytes:
    size = cursor.uleb()
    cursor.at += size
    return cursor.code[cursor.at - size : cursor.at]


_OPERANDS: dict[str, Callable[[Cursor, int], int | bytes]] = {
    "u": lambda cursor, _: cursor.uleb(),
    "s": lambda cursor, _: cursor.sleb(),
    "B": lambda cursor, _: cursor.number("B"),
    "H": lambda cursor, _: cursor.number("H"),
    "I": lambda cursor, _: cursor.number("I"),
    "p": lambda cursor, encoding: cursor.pointer(encoding),
    "b": _block,
}
INSTRUCTIONS: dict[int, tuple[str, Callable[..., None]]] = {
    0x40: ("", _Reader.advance),
    0x80: ("u", _Reader.offset),
    0xC0: ("", _Reader.restore),
    0x00: ("", _Reader.nothing),
    0x01: ("p", _Reader.go_to),
    0x02: ("B", _Reader.advance),
    0x03: ("H", _Reader.advance),
    0x04: ("I", _Reader.advance),
    0x05: ("uu", _Reader.offset),
    0x06: ("u", _Reader.restore),
    0x07: ("u", _Reader.undefined),
    0x08: ("u", _Reader.same),
    0x09: ("uu", _Reader.register),
    0x0A: ("", _Reader.remember),
    0x0B: ("", _Reader.recall),
    0x0C: ("uu", _Reader.frame_is),
    0x0D: ("u", _Reader.frame_register),
    0x0E: ("u", _Reader.frame_offset),
    0x0F: ("b", _Reader.frame_expression),
    0x10: ("ub", _Reader.at_expression),
    0x11: ("us", _Reader.offset),
    0x12: ("us", _Reader.frame_is_factored),
    0x13: ("s", _Reader.frame_offset_factored),
    0x14: ("uu", _Reader.value_offset),
    0x15: ("us", _Reader.value_offset),
    0x16: ("ub", _Reader.is_expression),
    0x2E: ("u", _Reader.nothing),
    0x2F: ("uu", _Reader.negative_offset),
}
"""DW_CFA_… by number: operands, and what is done with them."""


def rules_at(image: Image, address: int) -> Rules | None:
    """Return the rules that hold at a file address, None without any; raises MalformedFile."""
    index = image.frames.index(address)
    if index is None:
        return None
    base, section = image.frame_section
    bits, order = image.headers.bits, image.headers.byte_order
    place = int(image.frames.places[index])
    cursor = Cursor(section, base, bits, order, place - 8)
    length, back = cursor.number("I"), cursor.number("I")
    common = Cursor(section, base, bits, order, place - 4 - back)
    common_end = common.number("I") + common.at
    if common.number("I"):
        raise MalformedFile("an unwind entry refers to no common one")
    common.number("B")
    end = section.index(b"\0", common.at)
    augmentation = section[common.at : end].decode("latin-1")
    common.at = end + 1
    factors = common.uleb(), common.sleb()
    rules = Rules(return_column=common.uleb(), signal="S" in augmentation)
    encoding = 0
    if augmentation.startswith("z"):
        behind = common.uleb() + common.at
        for letter in augmentation[1:]:
            if letter == "R":
                encoding = common.number("B")
            elif letter == "L":
                common.number("B")
            elif letter == "P":
                common.pointer(common.number("B"))
        common.at = behind
    start = cursor.pointer(encoding)
    cursor.pointer(encoding & 0x0F)
    if augmentation.startswith("z"):
        size = cursor.uleb()
        cursor.at += size
    reader = _Reader(rules, factors, start, encoding)
    reader.run(common, common_end, address)
    reader.initial = dict(rules.saved)
    reader.run(cursor, place - 4 + length, address)
    return rules


_TWO: dict[int, Callable[[int, int], int]] = {
    0x1A: operator.and_,
    0x1C: operator.sub,
    0x1E: operator.mul,
    0x21: operator.or_,
    0x22: operator.add,
    0x24: lambda a, b: a << min(b, 64),
    0x25: lambda a, b: a >> min(b, 64),
    0x27: operator.xor,
    0x29: operator.eq,
    0x2A: operator.ge,
    0x2B: operator.gt,
    0x2C: operator.le,
    0x2D: operator.lt,
    0x2E: operator.ne,
}
_CONSTANTS = {
    0x08: "B",
    0x09: "b",
    0x0A: "H",
    0x0B: "h",
    0x0C: "I",
    0x0D: "i",
    0x0E: "Q",
    0x0F: "q",
}


def evaluate(
    expression: bytes,
    registers: Mapping[int, int],
    word: Callable[[int], int],
    initial: int | None = None,
) -> int:
    """Evaluate an expression over register numbers and memory; raises MalformedFile for what it
    can't contain, or what we do not know.
    """
    cursor = Cursor(expression, 0, 64, "little")
    stack = [] if initial is None else [initial]
    try:
        while cursor.at < len(expression):
            code = cursor.number("B")
            if code in _TWO:
                upper = stack.pop()
                stack[-1] = int(_TWO[code](stack[-1], upper)) & MASK
            elif 0x30 <= code < 0x50:  # DW_OP_lit0 …
                stack.append(code - 0x30)
            elif 0x70 <= code < 0x90:  # DW_OP_breg0 …
                stack.append(registers[code - 0x70] + cursor.sleb() & MASK)
            elif code in _CONSTANTS:
                stack.append(cursor.number(_CONSTANTS[code]) & MASK)
            elif code == 0x06:  # DW_OP_deref
                stack[-1] = word(stack[-1])
            elif code == 0x12:  # DW_OP_dup
                stack.append(stack[-1])
            elif code == 0x23:  # DW_OP_plus_uconst
                stack[-1] = stack[-1] + cursor.uleb() & MASK
            else:
                raise MalformedFile(f"unknown operation {code:#x} in an unwind expression")
        return stack[-1]
    except (IndexError, KeyError):
        raise MalformedFile("an unwind expression takes more than there is") from None
