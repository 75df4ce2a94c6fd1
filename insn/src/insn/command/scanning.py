"""`insn scan`: all instructions of files: what they are, and which methods they allow."""

import csv
import json
import sys
from pathlib import Path

import numpy as np

from insn.command.failure import CommandError
from insn.command.progress import progress
from insn.corpus import FileScan, scan_file
from insn.forms import METHODS, refusals


def scan(paths: list[str], *, as_json: bool, as_csv: bool, npz: str | None, functions: bool) -> int:
    """Run it; always 0 when the files can be read: nothing is asked of them."""
    if as_json and as_csv:
        raise CommandError("--json and --csv exclude each other", hint="give one of them")
    if npz is not None and len(paths) > 1:
        raise CommandError("--npz holds one file", hint="give one FILE")
    found = []
    for path in paths:
        with progress(f"scanning {path}"):
            scanned = scan_file(path)
        if scanned.error is not None:
            error = scanned.error
            raise CommandError(
                error.why, code=error.code, spec=path, address=error.address, hint=error.hint
            )
        found.append(scanned)
    if npz is not None:
        save(found[0], npz)
    if as_json:
        print(json.dumps([as_record(scanned) for scanned in found]))
    elif as_csv:
        write_table(found)
    else:
        for scanned in found:
            _show(scanned, functions=functions)
    return 0


def as_record(found: FileScan) -> dict[str, object]:
    """Return what `--json` prints for one file."""
    total = int((found.records["length"] > 0).sum())
    return {
        "object": found.path,
        "architecture": found.arch,
        "bytes": found.code_bytes,
        "instructions": total,
        "undecoded_bytes": found.undecoded,
        "flows": found.flows(),
        "methods": _methods(found, None, total),
        "entries": {
            "count": len(found.names),
            "methods": _methods(found, found.entry_verdicts, len(found.names)),
        },
        "functions": [
            {
                "function": name or None,
                "address": int(row["address"]),
                "size": int(row["size"]),
                "instructions": int(row["instructions"]),
                "undecoded_bytes": int(row["undecoded"]),
                "allowed": dict(zip(map(str, METHODS), row["allowed"].tolist(), strict=True)),
                "entry": [str(m) for n, m in enumerate(METHODS) if int(row["entry"]) >> n & 1],
            }
            for name, row in zip(found.names, found.functions, strict=True)
        ],
    }


def _methods(
    found: FileScan, verdicts: "np.ndarray[tuple[int], np.dtype[np.uint16]] | None", total: int
) -> dict[str, object]:
    return {
        method.value: {"allowed": total - codes.total(), "refused": dict(codes.most_common())}
        for method, codes in found.refused(verdicts).items()
    }


def write_table(found: list[FileScan]) -> None:
    """Print the functions as comma-separated values."""
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(
        ["object", "function", "address", "size", "instructions", "undecoded_bytes"]
        + [f"allow_{method}" for method in METHODS]
        + [f"entry_{method}" for method in METHODS]
    )
    for scanned in found:
        for name, row in zip(scanned.names, scanned.functions, strict=True):
            entry = [int(row["entry"]) >> n & 1 for n in range(len(METHODS))]
            numbers = [int(row[column]) for column in ("size", "instructions", "undecoded")]
            where = [scanned.path, name, f"{int(row['address']):#x}"]
            out.writerow([*where, *numbers, *row["allowed"].tolist(), *entry])


def save(found: FileScan, path: str) -> None:
    """Write the arrays, and what their verdicts mean, as one file of numpy's."""
    numbers = np.union1d(found.records["verdict"], found.entry_verdicts).tolist()
    meanings = {
        number: {
            method.value: {"code": reason.code, "why": reason.why}
            for method, reason in refusals(number).items()
        }
        for number in numbers
    }
    try:
        with Path(path).open("wb") as file:
            np.savez_compressed(
                file,
                instructions=found.records,
                functions=found.functions,
                names=np.array(found.names),
                verdicts=np.array(json.dumps(meanings)),
            )
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written: {error.strerror}", spec=path, hint="choose another file"
        ) from None


def _show(found: FileScan, *, functions: bool) -> None:
    from rich.text import Text

    from insn.command.tables import bar, console, percent, table_of

    out = console()
    total = int((found.records["length"] > 0).sum())
    out.print(
        Text.assemble(
            (found.path, "bold"),
            f" ({found.arch}): {found.code_bytes:,} bytes of code, {total:,} instructions, "
            f"{len(found.names):,} functions",
        )
    )
    if found.undecoded:
        share = found.undecoded / found.code_bytes
        out.print(f"{found.undecoded:,} bytes ({percent(share)}) belong to no instruction")
    out.print()
    for title, verdicts, count in (
        ("instructions", None, total),
        ("function entries", found.entry_verdicts, len(found.names)),
    ):
        if not count:
            continue
        table = table_of(title, "allowed", "share", "", "why not", numbers=("allowed", "share"))
        for method, codes in found.refused(verdicts).items():
            allowed = count - codes.total()
            why = ", ".join(f"{code} {times:,}" for code, times in codes.most_common(5))
            share = allowed / count
            table.add_row(
                method.value, f"{allowed:,}", percent(share), bar(share), Text(why, "dim")
            )
        out.print(table)
        out.print()
    table = table_of("flow", "instructions", "share", "", numbers=("instructions", "share"))
    for flow, times in sorted(found.flows().items(), key=lambda pair: -pair[1]):
        table.add_row(flow, f"{times:,}", percent(times / total), bar(times / total))
    out.print(table)
    legend = _reasons(found)
    if legend:
        out.print()
        table = table_of("reason", "means", "instead")
        for code, (why, hint) in sorted(legend.items()):
            table.add_row(code, why, Text(hint, "dim"))
        out.print(table)
    if functions:
        out.print()
        _show_functions(found)


def _reasons(found: FileScan) -> dict[str, tuple[str, str]]:
    """Collect the reasons that were met: by code, the sentence and what to do instead."""
    met = np.union1d(found.records["verdict"][found.records["length"] > 0], found.entry_verdicts)
    return {
        reason.code: (reason.why, reason.hint)
        for number in met.tolist()
        for reason in refusals(number).values()
    }


def _entry(methods: int) -> str:
    """Write which methods the entry of a function allows, the shorter way."""
    refused = [m.value for n, m in enumerate(METHODS) if not methods >> n & 1]
    if not refused:
        return "all"
    if len(refused) <= len(METHODS) // 2:
        return f"all but {' '.join(refused)}"
    return " ".join(m.value for n, m in enumerate(METHODS) if methods >> n & 1) or "none"


def _show_functions(found: FileScan) -> None:
    from rich.text import Text

    from insn.command.tables import show_rows

    numbers = ("address", "size", "instructions", *map(str, METHODS))
    rows: list[tuple[str | Text, ...]] = []
    for name, row in zip(found.names, found.functions, strict=True):
        entry = _entry(int(row["entry"]))
        rows.append(
            (
                f"{int(row['address']):#x}",
                Text(name or "(no name)"),
                f"{int(row['size']):,}",
                f"{int(row['instructions']):,}",
                *(f"{allowed:,}" for allowed in row["allowed"].tolist()),
                entry,
            )
        )
    show_rows(("address", "function", *numbers[1:], "entry"), rows, numbers)
