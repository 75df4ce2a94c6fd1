"""Run the benchmarks and print their tables."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from benchmarks.bulk import bulk_costs
from benchmarks.coverage import coverage_table, coverages, plot, reasons_table
from benchmarks.draining import drain_costs
from benchmarks.generated import generated_costs
from benchmarks.hits import crowd_costs, hit_costs, placements, slow_down
from benchmarks.inprocess import count_costs, record_costs, return_costs, thread_costs
from benchmarks.patching import endings, patch_costs
from benchmarks.report import Section, as_json, machine, markdown, show
from benchmarks.scanning import scan_costs, scan_growth, scan_learning


def hits(rounds: int) -> Iterator[Section]:
    """Cost of a hit by method and tool, in each placement."""
    measured = []
    for placement in placements(os.sched_getaffinity(0)):
        measured.append(hit_costs(placement, rounds))
        yield measured[-1]
    yield slow_down(measured)


def crowd(rounds: int) -> Iterator[Section]:
    """Cost of a hit among 10,000 other probes."""
    for placement in list(placements(os.sched_getaffinity(0)))[:2]:
        yield crowd_costs(placement, rounds)


def bulk(rounds: int) -> Iterator[Section]:
    """Putting 10,000 probes in and taking them out."""
    yield bulk_costs(max(3, rounds // 2))


def scan(rounds: int) -> Iterator[Section]:
    """Looking at all instructions of a library."""
    yield scan_costs(rounds)
    yield scan_growth(rounds)
    yield scan_learning()


def generated(rounds: int) -> Iterator[Section]:
    """What programs cost where they run."""
    yield generated_costs(rounds)


def counts(rounds: int) -> Iterator[Section]:
    """Counting without stopping the program."""
    yield count_costs(rounds)
    yield thread_costs(rounds)


def records(rounds: int) -> Iterator[Section]:
    """Recording without stopping the program."""
    yield record_costs(rounds)


def returns(rounds: int) -> Iterator[Section]:
    """The time between entry and return, without stopping the program."""
    yield return_costs(rounds)


def drain(rounds: int) -> Iterator[Section]:
    """How many records a second reach numpy."""
    yield drain_costs(rounds)


def patch(rounds: int) -> Iterator[Section]:
    """Patching 10,000 functions with jumps, and putting them back."""
    yield patch_costs(max(3, rounds // 2))
    yield endings()


def coverage(_rounds: int) -> Iterator[Section]:
    """Where a probe can go, by method."""
    yield coverage_table(*coverages())
    yield reasons_table(coverages()[0])


SECTIONS: dict[str, Callable[[int], Iterator[Section]]] = {
    "hits": hits,
    "crowd": crowd,
    "bulk": bulk,
    "scan": scan,
    "generated": generated,
    "counts": counts,
    "records": records,
    "returns": returns,
    "drain": drain,
    "patch": patch,
    "coverage": coverage,
}
GROUPS = {"inprocess": ("counts", "records", "returns", "drain", "patch", "coverage")}
"""Names that stand for several tables."""


def main() -> int:
    """Measure what was asked for; 1 when a goal was missed, so that a script can tell."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        choices=[*SECTIONS, *GROUPS, []],
        help=f"which tables ({', '.join([*SECTIONS, *GROUPS])}); all when none is named",
    )
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contestant (9)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write every round of every figure there"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the table `coverage` there, as an SVG"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a goal is missed")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(machine(), highlight=False)
    sections = []
    chosen = [part for name in options.sections for part in GROUPS.get(name, (name,))]
    for name in dict.fromkeys(chosen or SECTIONS):
        measured = SECTIONS[name](options.rounds)
        while True:
            with console.status(f"{name}: {SECTIONS[name].__doc__}"):
                section = next(measured, None)
            if section is None:
                break
            show(section, console)
            sections.append(section)
    if options.json:
        options.json.write_text(as_json(sections), encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(markdown(sections), encoding="utf-8")
    if options.plot:
        options.plot.write_text(plot(coverages()[0]), encoding="utf-8")
        console.print(f"{options.plot} shows where a probe can go")
    ratios = [
        ratio for section in sections for figure in section.figures for ratio in figure.ratios
    ]
    missed = [ratio for ratio in ratios if ratio.met is False]
    console.print(f"{len([r for r in ratios if r.met])} goals met, {len(missed)} missed")
    return int(bool(missed) and options.strict)


if __name__ == "__main__":
    raise SystemExit(main())
