"""The grammar of probe specs: text in, one record out; nothing here looks at a process.

    [raw:][OBJECT:]FUNCTION[+OFFSET]  the function, or the instruction OFFSET bytes behind its start
    [raw:][OBJECT:]GLOB               every function whose name fits (* ? [...])
    [raw:][OBJECT:]/REGEX/            every function whose name contains a match
    va:ADDRESS                        an address of the running process
    elf:OBJECT:ADDRESS                an address as the ELF file counts (as nm and objdump print it)
    off:OBJECT:OFFSET                 an offset in the file

OBJECT and FUNCTION may stand in single quotes; quoted text is taken as it is (no glob, no regex, no
offset), so that `'Foo::operator+(int*)'+4` means what it says. `::` never separates. `raw:` matches
the names as the symbol table writes them instead of demangled ones. An OBJECT may be a glob too,
except with `elf:` and `off:`.
"""

import enum
import re
from dataclasses import dataclass

from uprobes.errors import BadSpec


class Kind(enum.Enum):
    """What a spec says about its place."""

    NAME = "name"
    GLOB = "glob"
    REGEX = "regex"
    RUN_TIME = "va"
    ELF = "elf"
    FILE_OFFSET = "off"


@dataclass(frozen=True, slots=True)
class Spec:
    """A parsed spec.

    `place` is the function, glob or regex; `number` the address or offset of the three address
    kinds, or else the distance from the function's start in bytes. `object` is None when the spec
    names none. `raw` asks for names as the symbol table writes them.
    """

    source: str
    kind: Kind
    object: str | None = None
    place: str = ""
    number: int = 0
    raw: bool = False

    @property
    def single(self) -> bool:
        """Tell whether the spec means exactly one place."""
        return self.kind not in (Kind.GLOB, Kind.REGEX) and not is_glob(self.object or "")


PREFIXES = {
    "va": "va:0x… is an address of the running process",
    "elf": "elf:OBJECT:0x… is an address as the ELF file counts",
    "off": "off:OBJECT:0x… is an offset in the file",
    "raw": "raw:OBJECT:NAME is a name as the symbol table writes it",
}

LATER = {
    "plt": "calls through the PLT can't be named yet; probe where it is defined: OBJECT:FUNCTION",
    "sdt": "static markers can't be named yet; give the marker's address: elf:OBJECT:0x…",
}
"""Prefixes of the grammar that nothing stands behind so far."""

_ADDRESS_KINDS = {"elf": Kind.ELF, "off": Kind.FILE_OFFSET}
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
_OFFSET = re.compile(r"\+(0[xX][0-9a-fA-F]+|[0-9]+)$")
_DOUBTFUL_OFFSET = re.compile(r"[+-](0[xX])?[0-9a-fA-F]*$|[+-](0[xX])?[0-9][0-9a-zA-Z_]*$")
_OPERATOR = re.compile(r"operator\s*[-+]+$")
_GLOB = re.compile(r"[*?]|\[[^]]+\]")
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.$]*(::~?[\w.$]+)*(@@?[\w.]+)?")
_PLAIN_OBJECT = re.compile(r"[\w./+-]*[A-Za-z_][\w./+-]*")
_LIMIT = 1 << 64
_LONGEST = 4096


def is_glob(text: str) -> bool:
    """Tell whether text contains the wildcards of a glob."""
    return _GLOB.search(text) is not None


def number(text: str) -> int | None:
    """Read `0x…` or a decimal number; None when the text is neither."""
    if not _NUMBER.fullmatch(text):
        return None
    return int(text, 16) if text[:2] in ("0x", "0X") else int(text)


def bare_number(text: str) -> tuple[str | None, int] | None:
    """Return (object or None, number) when a spec is a number that could be counted in three ways,
    else None."""
    parts = _split(text.strip())
    if not 1 <= len(parts) <= 2 or any(part.startswith("'") for part in parts):
        return None
    value = number(parts[-1])
    if value is None or (len(parts) == 2 and (parts[0] in PREFIXES or "@" in parts[0])):
        return None
    return (parts[0] if len(parts) == 2 else None), value


def quote(name: str) -> str:
    """Return a function's name as a spec must write it to mean exactly that name."""
    return name if _PLAIN_NAME.fullmatch(name) else f"'{name}'"


def quote_object(name: str) -> str:
    """Return an object's name as a spec must write it to mean exactly that name."""
    return (
        name
        if _PLAIN_OBJECT.fullmatch(name) and name not in PREFIXES and name not in LATER
        else f"'{name}'"
    )


def parse(source: str) -> Spec:
    """Parse a spec.

    Raises BadSpec, which says what is wrong and shows what to write instead.
    """
    text = source.strip()
    if not text:
        raise BadSpec(
            "the spec is empty", spec=source, hint="write OBJECT:FUNCTION, for example libc:malloc"
        )
    if len(text) > _LONGEST or not text.isprintable():
        why = (
            f"longer than {_LONGEST} characters"
            if text.isprintable()
            else "it contains control characters"
        )
        raise BadSpec(f"this is no spec: {why}", spec=text[:60])
    bare = bare_number(text)
    if bare is not None:
        raise three_readings(text, *bare)
    parts = _split(text)
    prefix, rest = parts[0], parts[1:]
    if prefix in LATER and rest:
        raise BadSpec(LATER[prefix].split(";")[0], spec=text, hint=LATER[prefix].split("; ")[1])
    if prefix == "va" and rest:
        if len(rest) != 1:
            raise BadSpec(
                "va: takes one address of the process and no object", spec=text, hint=PREFIXES["va"]
            )
        return Spec(text, Kind.RUN_TIME, number=_address(text, rest[0], "va"))
    if prefix in _ADDRESS_KINDS and rest:
        if len(rest) != 2:
            raise BadSpec(
                f"{prefix}: takes an object and a number", spec=text, hint=PREFIXES[prefix]
            )
        counted = _address(text, rest[1], prefix)
        return Spec(
            text, _ADDRESS_KINDS[prefix], object=_object(text, rest[0], single=True), number=counted
        )
    raw = prefix == "raw" and bool(rest)
    if raw:
        parts = rest
    if len(parts) > 2:
        known = "; ".join(PREFIXES.values())
        raise BadSpec(
            f"unknown prefix {prefix!r}", spec=text, hint=f"{known}; quote names that contain ':'"
        )
    if len(parts) == 2:
        _no_source_line(text, *parts)
        return _place(text, _object(text, parts[0], single=False), parts[1], raw=raw)
    if parts[0].startswith(("./", "../", "~/")) or (
        parts[0].startswith("/") and not _is_regex(parts[0])
    ):
        raise BadSpec(
            "this names a file but no function", spec=text, hint=f"all of them: {parts[0]}:*"
        )
    return _place(text, None, parts[0], raw=raw)


def three_readings(
    text: str, named: str | None, value: int, *, readings: list[str] | None = None
) -> BadSpec:
    """Make the error for a bare number; `readings` are `SPEC (what it means)`, for one process."""
    if readings is None:
        shown = named or "OBJECT"
        readings = [] if named else [f"va:{value:#x} (run-time address)"]
        readings += [
            f"elf:{shown}:{value:#x} (address in the ELF file)",
            f"off:{shown}:{value:#x} (offset in the file)",
        ]
    hint = f"say which: {', '.join(readings)}"
    return BadSpec("a bare number can be read in three ways", spec=text, hint=hint)


def _split(text: str) -> list[str]:
    """Split at single colons outside quotes; a regex keeps its colons."""
    parts: list[str] = []
    start = at = 0
    while at < len(text):
        if text[at] == "'" and at == start:
            closing = text.find("'", at + 1)
            at = closing + 1 if closing > 0 else len(text)
        elif text.startswith("::", at):
            at += 2
        elif text[at] == ":":
            parts.append(text[start:at])
            start = at = at + 1
            if _is_regex(text[start:]):
                break
        else:
            at += 1
    parts.append(text[start:])
    return parts


def _is_regex(text: str) -> bool:
    return len(text) > 2 and text.startswith("/") and text.endswith("/")


def _address(source: str, text: str, prefix: str) -> int:
    value = number(text)
    if value is None:
        raise BadSpec(f"{text!r} is no number", spec=source, hint=PREFIXES[prefix])
    if value >= _LIMIT:
        raise BadSpec("the number does not fit into 64 bits", spec=source, hint=PREFIXES[prefix])
    return value


def _unquote(source: str, text: str) -> tuple[str, str] | None:
    """Return (quoted text, what follows it), or None when the text is not quoted."""
    if not text.startswith("'"):
        return None
    closing = text.find("'", 1)
    if closing < 0:
        raise BadSpec(
            "the quote is not closed", spec=source, hint="write 'NAME' with a quote at both ends"
        )
    return text[1:closing], text[closing + 1 :]


def _object(source: str, text: str, *, single: bool) -> str:
    quoted = _unquote(source, text)
    if quoted is not None:
        if quoted[1]:
            raise BadSpec(
                f"{quoted[1]!r} follows the quoted object",
                spec=source,
                hint="write 'OBJECT':FUNCTION",
            )
        text = quoted[0]
    if not text:
        raise BadSpec(
            "the object is empty", spec=source, hint="without the colon the main program is meant"
        )
    if single and is_glob(text):
        raise BadSpec(
            "an address counts in one object, not in a glob", spec=source, hint="name the object"
        )
    return text


def _no_source_line(source: str, named: str, place: str) -> None:
    if "@" in named and number(place) is not None:
        raise BadSpec(
            "source lines can't be named yet",
            spec=source,
            hint="take the line's address from `objdump -dl` and write elf:OBJECT:0x…",
        )


def _place(source: str, named: str | None, text: str, *, raw: bool) -> Spec:
    if not text:
        raise BadSpec("the function is empty", spec=source, hint=f"all of them: {named}:*")
    quoted = _unquote(source, text)
    if quoted is not None:
        name, rest = quoted
        offset = _OFFSET.fullmatch(rest)
        if not name or (rest and not offset):
            why = f"{rest!r} follows the quoted name" if name else "the quoted name is empty"
            raise BadSpec(why, spec=source, hint="write 'NAME' or 'NAME'+0x…")
        return Spec(source, Kind.NAME, named, name, _offset(source, offset), raw)
    if _is_regex(text):
        try:
            re.compile(text[1:-1])
        except re.error as error:
            raise BadSpec(
                f"the regex is not valid: {error}", spec=source, hint="quote names with slashes"
            ) from None
        return Spec(source, Kind.REGEX, named, text[1:-1], 0, raw)
    if text.startswith("/"):
        raise BadSpec(
            "the regex is not closed", spec=source, hint="write /REGEX/ with a slash at both ends"
        )
    offset = _OFFSET.search(text)
    place = text[: offset.start()] if offset else text
    if not place:
        raise BadSpec(
            "an offset needs a function before it", spec=source, hint="write FUNCTION+OFFSET"
        )
    if not offset and _DOUBTFUL_OFFSET.search(text) and not _OPERATOR.search(text):
        raise BadSpec(
            "the offset is no number that counts forward",
            spec=source,
            hint="write FUNCTION+12 or FUNCTION+0x1a; names with + or - in them need quotes",
        )
    kind = Kind.GLOB if is_glob(place) else Kind.NAME
    return Spec(source, kind, named, place, _offset(source, offset), raw)


def _offset(source: str, match: re.Match[str] | None) -> int:
    if match is None:
        return 0
    value = int(match[1], 0) if match[1][:2] in ("0x", "0X") else int(match[1])
    if value >= _LIMIT:
        raise BadSpec(
            "the offset does not fit into 64 bits", spec=source, hint="write FUNCTION+0x…"
        )
    return value
