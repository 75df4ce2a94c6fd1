"""Figures, what they are compared with, and how they are shown: tables, Markdown, JSON."""

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Goal:
    """How the ratio of a figure to another must be: at most, or at least, so many times."""

    limit: float
    at_most: bool = True

    def met(self, ratio: float) -> bool:
        """Tell whether a ratio is good enough."""
        return ratio <= self.limit if self.at_most else ratio >= self.limit

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}"


@dataclass(frozen=True)
class Ratio:
    """How one figure compares with another: the median of the rounds' ratios, and its goal."""

    to: str
    value: float
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met, None without one."""
        return None if self.goal is None else self.goal.met(self.value)

    def __str__(self) -> str:
        mark = {None: "", True: " ✓", False: " ✗"}[self.met]
        return f"{number(self.value)}{mark}"


@dataclass(frozen=True)
class Figure:
    """One line of a table: what was measured in each round, or why it could not be."""

    name: str
    rounds: tuple[float, ...] = ()
    unit: str = "µs"
    ratios: tuple[Ratio, ...] = ()
    note: str = ""

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """The quarter points of the rounds."""
        if len(self.rounds) < 2:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.rounds, n=4)
        return low, high


@dataclass
class Section:
    """One table: figures that were measured in turns, in one run."""

    title: str
    about: str
    figures: list[Figure] = field(default_factory=list)


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """Compare two figures measured in the same rounds: the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def number(value: float) -> str:
    """Write a figure with three digits that count."""
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:,.{digits}f}"


def _columns(section: Section) -> dict[str, str]:
    """Give a heading for each thing compared with; what has a goal stands at the right.

    The goal stands in it, unless the column has several: then it stands in the cells.
    """
    ratios = [r for f in section.figures for r in f.ratios]
    goals = {r.to: {str(o.goal) for o in ratios if o.to == r.to and o.goal} for r in ratios}
    order = sorted(goals, key=lambda to: bool(goals[to]))
    return {to: f"{to} ({next(iter(goals[to]))})" if len(goals[to]) == 1 else to for to in order}


def headings(section: Section) -> list[str]:
    """Give the table's columns: name, median, spread, and one for each thing compared with."""
    return ["", "median", "quarters", *_columns(section).values()]


def cells(section: Section, figure: Figure) -> list[str]:
    """Write one figure for the columns of its table."""
    columns = _columns(section)
    if not figure.rounds:
        return [figure.name, "-", "-", *("" for _ in columns)]
    low, high = figure.spread
    found = {
        r.to: f"{r} {r.goal}" if r.goal and columns[r.to] == r.to else str(r) for r in figure.ratios
    }
    return [
        figure.name,
        f"{number(figure.median)} {figure.unit}",
        f"{number(low)} … {number(high)}",
        *(found.get(to, "") for to in columns),
    ]


def remarks(section: Section) -> list[str]:
    """Say what could not be measured, and why."""
    return [f"{f.name}: {f.note}" for f in section.figures if f.note]


def show(section: Section, console: Console) -> None:
    """Print one table."""
    table = Table(
        title=section.title, caption=section.about, title_justify="left", caption_justify="left"
    )
    for position, heading in enumerate(headings(section)):
        table.add_column(
            heading, justify="right" if position else "left", no_wrap=position in (1, 2)
        )
    for figure in section.figures:
        missed = any(r.met is False for r in figure.ratios)
        style = "red" if missed else "dim" if not figure.rounds else None
        table.add_row(*cells(section, figure), style=style)
    console.print(table)
    for remark in remarks(section):
        console.print(remark, style="yellow")
    console.print()


def machine() -> str:
    """Say on what the figures were measured."""
    model = "unknown CPU"
    with open("/proc/cpuinfo", encoding="utf-8") as cpus:
        for line in cpus:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    system, python = platform.release(), platform.python_version()
    return f"{model}, {os.cpu_count()} CPUs, Linux {system}, Python {python}"


def markdown(sections: Iterable[Section]) -> str:
    """Write the tables for the documentation."""
    lines = [f"Measured by `make bench` on: {machine()}.", ""]
    for section in sections:
        columns = headings(section)
        lines += [f"## {section.title}", "", section.about, ""]
        lines += [f"| {' | '.join(columns)} |", f"|---{'|--:' * (len(columns) - 1)}|"]
        lines += [f"| {' | '.join(cells(section, figure))} |" for figure in section.figures]
        lines += ["", *(f"- {remark}" for remark in remarks(section)), ""]
    return "\n".join(lines)


def as_json(sections: Iterable[Section]) -> str:
    """Write everything that was measured, every round of it."""
    document = {"machine": machine(), "sections": []}
    for section in sections:
        rows = []
        for figure in section.figures:
            row = asdict(figure)
            row["median"] = figure.median if figure.rounds else None
            for record, source in zip(row["ratios"], figure.ratios, strict=True):
                record["met"] = source.met
            rows.append(row)
        document["sections"].append(
            {"title": section.title, "about": section.about, "figures": rows}
        )
    return json.dumps(document, indent=1, ensure_ascii=False)
