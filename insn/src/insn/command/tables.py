"""How verdicts look on a terminal."""

import shutil
import sys
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from insn.model import Method, Reason

WIDE = 160
"""Columns to use where no terminal sets a limit."""


def console(*, to_stderr: bool = False) -> Console:
    """Make the console for stdout (or stderr); colours only on a terminal."""
    file = sys.stderr if to_stderr else sys.stdout
    width = shutil.get_terminal_size().columns if file.isatty() else WIDE
    return Console(file=file, width=width, highlight=False, soft_wrap=not file.isatty())


def table_of(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """Make a table without frames; the columns in `numbers` are aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


_RICH = 200
"""Tables with more rows are printed as plain lines: laying them out would take seconds."""


def show_rows(
    columns: tuple[str, ...], rows: list[tuple[str | Text, ...]], numbers: tuple[str, ...]
) -> None:
    """Print rows under their columns; those in `numbers` are aligned to the right."""
    if len(rows) <= _RICH:
        table = table_of(*columns, numbers=numbers)
        for row in rows:
            table.add_row(*row)
        console().print(table)
        return
    plain = [tuple(map(str, row)) for row in [columns, *rows]]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    layout = "  ".join(
        f"{{:{'>' if column in numbers else '<'}{width}}}"
        for column, width in zip(columns, widths, strict=True)
    )
    sys.stdout.write("\n".join(layout.format(*row).rstrip() for row in plain) + "\n")


def methods_allowed(found: Mapping[Method, Reason]) -> Text:
    """Write the methods that may be used."""
    allowed = [method.value for method in Method if method not in found]
    return Text(" ".join(allowed)) if allowed else Text("none", "red")


def methods_refused(found: Mapping[Method, Reason]) -> Text:
    """Write the reason codes, each with the methods that it rules out."""
    by_code: dict[str, list[str]] = {}
    for method, reason in found.items():
        by_code.setdefault(reason.code, []).append(method.value)
    parts = []
    for code, methods in by_code.items():
        parts.append(code if len(methods) == len(Method) else f"{' '.join(methods)}: {code}")
    return Text("; ".join(parts), "dim")


def bar(share: float, width: int = 24) -> Text:
    """Draw a share (0 to 1) as a bar of `width` columns."""
    eighths = round(share * width * 8)
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
    return Text(drawn.ljust(width), "green" if share >= 0.99 else "yellow")


def percent(share: float) -> str:
    """Write a share; only what is whole reads 100 %."""
    if share == 1:
        return "100 %"
    return f"{min(share * 100, 99.99):.2f} %"
