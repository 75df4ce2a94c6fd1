"""Reads the notation of the x86 tables, which `x86_row` explains, into rows."""

from insn.model import Flow
from insn.x86_row import (
    LENGTH,
    MEMORY_FORM,
    MOD,
    MODE,
    MODE_64,
    OTHER_MODE,
    PREFIX,
    REG,
    REGISTER_FORM,
    RM,
    Access,
    Immediate,
    Operand,
    Property,
    Row,
    Space,
    W,
)

_ALL = (1 << MODE + 2) - 1
_ANY_LENGTH = 15 << LENGTH

_PREFIXES = {"np": 0, "66": 1, "f3": 2, "f2": 3}
_FLAGS = {
    "o": "of", "s": "sf", "z": "zf", "a": "af", "p": "pf", "c": "cf",
    "d": "df", "i": "if", "t": "tf", "n": "nt", "k": "ac",
}  # fmt: skip
_FLOWS = {
    "JUMP": Flow.JUMP,
    "JCC": Flow.CONDITIONAL_JUMP,
    "IJUMP": Flow.INDIRECT_JUMP,
    "CALL": Flow.CALL,
    "ICALL": Flow.INDIRECT_CALL,
    "RETURN": Flow.RETURN,
    "SYSCALL": Flow.SYSTEM_CALL,
    "TRAP": Flow.TRAP,
    "FAR": Flow.FAR,
}
_IMMEDIATES = {
    "Ib": Immediate.BYTE,
    "Ibs": Immediate.BYTE,
    "Lx": Immediate.BYTE,
    "Iw": Immediate.WORD,
    "Id": Immediate.DWORD,
    "Iz": Immediate.Z,
    "Iv": Immediate.V,
    "Ap": Immediate.FAR,
    "Jb": Immediate.BRANCH_BYTE,
    "Jz": Immediate.BRANCH_Z,
}
_PAIRS = {
    (Immediate.WORD, Immediate.BYTE): Immediate.WORD_BYTE,
    (Immediate.BYTE, Immediate.BYTE): Immediate.BYTE_BYTE,
}
_MODRM_LETTERS = frozenset("EGRSCDMVWUPQN") | {"kG", "kE", "kP", "tG", "tE"}
_ACCESSES = {a.value: a for a in Access if a.value}
_PROPERTIES = {p.name: p for p in Property}


def _span(text: str, base: int = 10) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first, base), int(last or first, base)


def _bits(position: int, first: int, last: int) -> int:
    return sum(1 << position + n for n in range(first, last + 1))


def _lengths(space: Space) -> int:
    if Space.EVEX1 <= space <= Space.EVEX6:
        return 7 << LENGTH
    return _ANY_LENGTH if space < Space.VEX1 else 3 << LENGTH


def _conditions(words: list[str], space: Space) -> tuple[int, int]:
    """Turn the conditions of a line into the bits that are forbidden and the immediate it must
    have."""
    # (position of the field, its width): allowed values, all others forbidden
    allowed = {
        MOD: 3 << MOD,
        REG: 255 << REG,
        RM: 255 << RM,
        W: 3 << W,
        PREFIX: 15,
        MODE: 3 << MODE,
    }
    allowed[LENGTH] = _lengths(space)
    prefixes = 0
    immediate = -1
    for word in words:
        if word in _PREFIXES:
            prefixes |= 1 << _PREFIXES[word]
        elif word[0] == "/":
            allowed[REG] = _bits(REG, *_span(word[1:]))
        elif word in ("m", "r"):
            allowed[MOD] = MEMORY_FORM if word == "m" else REGISTER_FORM
        elif word.startswith("rm"):
            allowed[RM] = _bits(RM, *_span(word[2:]))
        elif word.startswith("imm"):
            immediate = int(word[3:], 16)
        elif word[0] == "l":
            allowed[LENGTH] = sum(1 << LENGTH + int(n) for n in word[1:])
        elif word[0] == "w":
            allowed[W] = sum(1 << W + int(n) for n in word[1:].replace("w", ""))
        elif word in ("o64", "i64"):
            allowed[MODE] = MODE_64 if word == "o64" else OTHER_MODE
        else:
            raise ValueError(f"no condition is written {word!r}")
    if prefixes:
        allowed[PREFIX] = prefixes
    return _ALL & ~sum(allowed.values()), immediate


def _operand(word: str) -> Operand:
    access = _ACCESSES.get(word[0], Access.READ)
    rest = word[1:] if access is not Access.READ else word
    if rest[0] == "$":
        return Operand(access, "$", rest[1:])
    if rest[0] in "kt":
        return Operand(access, rest[:2], "")
    return Operand(access, rest[0], rest[1:])


def _immediate(operands: list[Operand]) -> Immediate:
    found = [_IMMEDIATES[o.letter + o.size] for o in operands if o.letter + o.size in _IMMEDIATES]
    if any(o.letter == "O" for o in operands):
        return Immediate.OFFSET
    if len(found) == 2:
        return _PAIRS[found[0], found[1]]
    return found[0] if found else Immediate.NONE


def _flag_names(letters: str) -> frozenset[str]:
    return frozenset(_FLAGS[letter] for letter in letters)


_parsed_operands: dict[str, Operand] = {}


def parse(line: str, space: Space, number: int) -> Row:
    """Read one line of a table; ValueError or KeyError when it does not follow the notation."""
    where, name, *words = line.split()
    opcode, *conditions = where.split(".")
    if opcode.endswith("+r"):
        first = int(opcode[:2], 16)
        last = first + 7
    else:
        first, last = _span(opcode, 16)
    forbidden, by_immediate = _conditions(conditions, space)
    operands: list[Operand] = []
    read = written = refusal = ""
    flow = Flow.NEXT
    properties = Property.NONE
    for word in words:
        initial = word[0]
        if word in _FLOWS:
            flow = _FLOWS[word]
        elif word in _PROPERTIES:
            properties |= _PROPERTIES[word]
        elif initial == "!":
            refusal = word[1:]
        elif initial == "<":
            read += word[1:]
        elif initial == ">":
            written += word[1:]
        elif initial == "~":
            # A flag that may survive is an input of what comes out.
            read += word[1:]
            written += word[1:]
        else:
            operand = _parsed_operands.get(word)
            if operand is None:
                operand = _parsed_operands[word] = _operand(word)
            operands.append(operand)
    has_modrm = any(c[0] in "/mr" for c in conditions) or any(
        o.letter in _MODRM_LETTERS for o in operands
    )
    return Row(
        number=number,
        space=space,
        first=first,
        last=last,
        forbidden=forbidden,
        by_immediate=by_immediate,
        names=tuple(name.split("|")),
        operands=tuple(operands),
        has_modrm=has_modrm,
        immediate=_immediate(operands),
        flags_read=_flag_names(read),
        flags_written=_flag_names(written),
        flow=flow,
        refusal=refusal,
        properties=properties,
        bits=properties.value,
    )
