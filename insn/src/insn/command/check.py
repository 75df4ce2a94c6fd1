"""`insn check`: may the functions of a file be probed, by which methods, and why not by others?"""

import json
import os
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from insn.boundary import Boundary, boundaries
from insn.bulk import refusals
from insn.command.failure import CommandError
from insn.command.progress import progress
from insn.elf import Image, open_image
from insn.errors import InsnError
from insn.model import Method
from insn.survey import Entries, entries

HANDLER_METHODS = (Method.INLINE, Method.STEP, Method.BOOST, Method.EMULATE)
_MOST_LISTED = 40
_NUMBER = re.compile(r"(0x[0-9a-fA-F]+|[0-9]+)$")


@dataclass(frozen=True, slots=True)
class Place:
    """What one argument asks for: a file, and what in it (None: every function)."""

    spec: str
    path: str
    pattern: str | None


def parse_place(spec: str) -> Place:
    """Read `FILE[:SYMBOL]`; a path that exists as it stands has no symbol."""
    if os.path.exists(spec):
        return Place(spec, spec, None)
    for at in (match.start() for match in re.finditer(":", spec)):
        if os.path.exists(spec[:at]) and spec[at + 1 :]:
            return Place(spec, spec[:at], spec[at + 1 :])
    path = spec.partition(":")[0]
    raise CommandError(
        f"there is no file {path}", code="no-such-file", spec=spec, hint="give FILE, or FILE:SYMBOL"
    )


def check(specs: list[str], *, everything: bool, as_json: bool) -> int:
    """Run it; return 1 when some place may not be probed at all, else 0."""
    surveys: dict[str, Entries] = {}
    found: list[tuple[Place, Entries]] = []
    for spec in specs:
        place = parse_place(spec)
        try:
            if place.path not in surveys:
                with progress(f"reading {place.path}"):
                    surveys[place.path] = entries(open_image(place.path))
            found.append((place, select(surveys[place.path], place)))
        except CommandError:
            raise
        except InsnError as error:
            raise CommandError(
                error.why, code=error.code, spec=spec, address=error.address, hint=error.hint
            ) from None
    if as_json:
        records = [record for _, chosen in found for record in as_records(chosen)]
        print(json.dumps(records))
    else:
        for place, chosen in found:
            _show(place, chosen, everything=everything)
    probeable = [chosen.allowing(*HANDLER_METHODS).all() for _, chosen in found]
    return 0 if all(probeable) else 1


def select(survey: Entries, place: Place) -> Entries:
    """Choose the functions, or the one instruction, that a place names.

    CommandError when nothing is there.
    """
    if place.pattern is None:
        if not len(survey):
            raise CommandError(
                f"{place.path} has neither symbols nor unwind entries of functions",
                code="no-such-symbol",
                spec=place.spec,
                hint="give an address: FILE:0xADDRESS",
            )
        return survey
    if _NUMBER.match(place.pattern):
        return _instruction(survey, int(place.pattern, 0), place)
    name, plus, offset = place.pattern.rpartition("+")
    if plus and _NUMBER.match(offset):
        return _instruction(survey, _address(survey, name, place) + int(offset, 0), place)
    if any(letter in place.pattern for letter in "*?["):
        matching = survey.image.functions.matching(place.pattern)
        if not len(matching):
            raise _unknown(survey.image, place.pattern, place)
        return survey.where(np.isin(survey.addresses, survey.image.functions.addresses[matching]))
    symbols = survey.image.find(place.pattern)
    if not symbols:
        raise _unknown(survey.image, place.pattern, place)
    addresses = np.array([symbol.address for symbol in symbols], np.uint64)
    chosen = survey.where(np.isin(survey.addresses, addresses))
    return chosen.renamed(place.pattern)


def _address(survey: Entries, name: str, place: Place) -> int:
    symbols = survey.image.find(name)
    if not symbols:
        raise _unknown(survey.image, name, place)
    if len({symbol.address for symbol in symbols}) > 1:
        raise CommandError(
            f"{place.path} has {len(symbols)} functions called {name}",
            code="ambiguous",
            spec=place.spec,
            hint="give an address: " + ", ".join(f"{symbol.address:#x}" for symbol in symbols),
        )
    return symbols[0].address


def _unknown(image: Image, name: str, place: Place) -> CommandError:
    if image.symbols.find(name):
        return CommandError(
            f"{name} of {place.path} is data, not a function",
            code="no-such-symbol",
            spec=place.spec,
            hint="probes stand on instructions: name a function that uses it",
        )
    near = image.functions.similar(name)
    hint = "did you mean " + ", ".join(near) + "?" if near else "`insn check FILE --all` lists them"
    return CommandError(
        f"{place.path} has no function {name}", code="no-such-symbol", spec=place.spec, hint=hint
    )


def _instruction(survey: Entries, address: int, place: Place) -> Entries:
    """Look at the one instruction at an address, if one can start there."""
    image = survey.image
    if not image.executable(address):
        raise CommandError(
            f"{place.path} has no code at this address",
            code="not-executable",
            spec=place.spec,
            address=address,
            hint="its code is at "
            + ", ".join(f"{s.address:#x}-{s.end:#x}" for s in image.segments if s.executable),
        )
    found = boundaries(image, [address])[0]
    if found.boundary is Boundary.DISPROVED and found.inside is not None:
        inside = found.inside
        raise CommandError(
            f"this is inside the instruction {inside.text!r}, which is {inside.length} bytes long",
            code="not-a-boundary",
            spec=place.spec,
            address=address,
            hint=f"instructions start at {inside.address:#x} and {inside.end:#x}",
        )
    function = image.function_at(address)
    name = ""
    if function is not None and function.name:
        inside_by = address - function.address
        name = f"{function.name}+{inside_by:#x}" if inside_by else function.name
    return survey.at(address, name)


def as_records(chosen: Entries) -> list[dict[str, object]]:
    """Return what `--json` prints: one object for each function."""
    texts = _method_texts(chosen)
    return [
        {
            "object": chosen.image.name,
            "function": name or None,
            "address": int(record["address"]),
            "instruction": chosen.instruction(index) if record["length"] else None,
            "methods": texts[int(record["verdict"])],
        }
        for index, (name, record) in enumerate(zip(chosen.names, chosen.records, strict=True))
    ]


def _method_texts(chosen: Entries) -> dict[int, dict[str, dict[str, str] | None]]:
    """Write the methods of each verdict that occurs."""
    return {
        int(number): {
            method.value: None
            if (reason := refusals(int(number)).get(method)) is None
            else {"code": reason.code, "why": reason.why}
            for method in Method
        }
        for number in np.unique(chosen.records["verdict"])
    }


def _show(place: Place, chosen: Entries, *, everything: bool) -> None:
    from rich.text import Text

    from insn.command.tables import console, methods_allowed, methods_refused, show_rows

    out = console()
    refused = np.flatnonzero(~chosen.allowing(*HANDLER_METHODS)).tolist()
    whole = everything or len(chosen) <= _MOST_LISTED
    listed = list(range(len(chosen))) if whole else refused
    if listed:
        rows: list[tuple[str | Text, ...]] = [
            (
                f"{int(chosen.addresses[index]):#x}",
                Text(chosen.names[index] or "(no name)"),
                Text(chosen.instruction(index)),
                methods_allowed(chosen.refusals(index)),
                methods_refused(chosen.refusals(index)),
            )
            for index in listed
        ]
        columns = ("address", "function", "instruction", "methods", "why not")
        show_rows(columns, rows, ("address",))
        out.print()
    if len(chosen) > 1:
        show_summary(place.path, chosen)
    elif refused:
        reason = next(iter(chosen.refusals(0).values()))
        out.print(
            Text(f"{reason.code}: {reason.why}" + (f" ({reason.hint})" if reason.hint else ""))
        )


def show_summary(title: str, chosen: Entries) -> None:
    """Print how many functions each method can take, and what stands against the others."""
    from rich.text import Text

    from insn.command.tables import bar, console, percent, table_of

    out = console()
    total = len(chosen)
    out.print(Text.assemble((title, "bold"), f": {total:,} functions"))
    table = table_of("method", "functions", "share", "", "why not", numbers=("functions", "share"))
    for method in Method:
        allowed = chosen.allowing(method)
        count = int(allowed.sum())
        codes = Counter[str]()
        verdicts, counts = np.unique(chosen.records["verdict"][~allowed], return_counts=True)
        for number, times in zip(verdicts.tolist(), counts.tolist(), strict=True):
            codes[refusals(number)[method].code] += times
        why = ", ".join(f"{code} {times:,}" for code, times in codes.most_common())
        share = count / total
        table.add_row(method.value, f"{count:,}", percent(share), bar(share), Text(why, "dim"))
    out.print(table)
    probeable = int(chosen.allowing(*HANDLER_METHODS).sum())
    if probeable < total:
        out.print(Text(f"{total - probeable:,} cannot be probed at all", "red"))
