"""Where a probe can go without a trap: the share of entries and of instructions, by method."""

import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

import insn
from benchmarks.report import Figure, Goal, Ratio, Section
from benchmarks.victims import libc_path
from insn import JumpForm, Method
from insn.forms import METHODS
from insn.survey import entries
from insn.window import JUMP_FORMS, REASONS

ENTRIES_GOAL = Goal(99, at_most=False)
KINDS = ("jump", "short jump", "punned jump", "trap", "with a handler only", "refused")
"""What a place takes, the cheapest first."""
FORMS = (JumpForm.JUMP, JumpForm.SHORT, JumpForm.PUNNED)
COLOURS = ("#1b6e3c", "#4a9d5f", "#93c79b", "#e0b04c", "#b9b9b9", "#b0413e")


@dataclass(frozen=True)
class Coverage:
    """How many places of one file take what, in the order of `KINDS`."""

    name: str
    counts: tuple[int, ...]
    reasons: tuple[tuple[str, int], ...] = ()
    """Why not a plain jump, and how often: the most frequent first."""

    @property
    def shares(self) -> tuple[float, ...]:
        """The same in per cent."""
        return tuple(100 * count / sum(self.counts) for count in self.counts)


def files() -> Iterator[tuple[str, Path]]:
    """Give libc, libcrypto and Python's own code; raises nothing for what is not there."""
    yield "libc", libc_path()
    for folder in ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"):
        if found := sorted(Path(folder).glob("libcrypto.so.*")):
            yield "libcrypto", found[-1].resolve()
            break
    program = Path(sys.executable).resolve()
    with open("/proc/self/maps", encoding="utf-8") as maps:
        libraries = {Path(line.split()[-1]) for line in maps if "libpython3" in line}
    yield "python3", next(iter(libraries), program)


def _counts(name: str, methods: NDArray[np.uint8], rows: NDArray[np.void]) -> Coverage:
    forms = rows["form"]
    jumps = [int(np.count_nonzero(forms == JUMP_FORMS.index(form))) for form in FORMS]
    none = forms == 0
    trap = none & (methods >> METHODS.index(Method.TRAP) & 1 != 0)
    other = none & ~trap & (methods != 0)
    rest = [int(np.count_nonzero(kind)) for kind in (trap, other, none & ~trap & ~other)]
    codes = [reason.code if reason else "" for reason in REASONS]
    reasons = Counter(codes[number] for number in rows["reason"].tolist() if number)
    return Coverage(name, (*jumps, *rest), tuple(reasons.most_common()))


def of_file(name: str, path: Path) -> tuple[Coverage, ...]:
    """Judge every function entry of a file, all of them at once, and every instruction."""
    image = insn.open_image(path)
    code = insn.CodeMap(image)
    windows = insn.Windows(code)
    found = entries(image, code)
    every = code.instructions
    every = every[every["length"] > 0]
    methods = found.records["methods"]
    return (
        _counts(f"{name}: function entries", methods, windows.judge(found.addresses)),
        _counts(f"{name}: entries, all at once", methods, windows.plan(found.addresses)),
        _counts(f"{name}: instructions", every["methods"], windows.judge(every["address"])),
    )


@cache
def coverages() -> tuple[list[Coverage], str]:
    """Judge all files, once; the second answer says what could not be."""
    measured = [part for name, path in files() for part in of_file(name, path)]
    names = {coverage.name.split(":")[0] for coverage in measured}
    return measured, "" if "libcrypto" in names else "libcrypto: install the package openssl"


def coverage_table(measured: Sequence[Coverage], missing: str = "") -> Section:
    """Make the table."""
    section = Section(
        "Where a probe can go, by method",
        "Per cent of a file's function entries, and of all its instructions, each judged as if it"
        " were the only one; and of the entries when all are patched at once. All jumps together,"
        " then each form: the plain one of 5 bytes, a short one to a hole in padding, a punned one"
        " whose last bytes are the next instruction's. What takes none of them takes a trap.",
    )
    for coverage in measured:
        shares = coverage.shares
        jumps = sum(shares[: len(FORMS)])
        goal = ENTRIES_GOAL if coverage.name.endswith("entries") else None
        ratios = [Ratio("any jump", jumps, goal)]
        ratios += [Ratio(kind, share) for kind, share in zip(KINDS, shares, strict=True)]
        section.figures.append(
            Figure(coverage.name, (float(sum(coverage.counts)),), "places", tuple(ratios))
        )
    if missing:
        section.figures.append(Figure("libcrypto", note=f"not measured: {missing}"))
    return section


def reasons_table(measured: Sequence[Coverage]) -> Section:
    """Make the table of reasons."""
    section = Section(
        "Why not a plain jump",
        "Per cent of the same places by reason; another form may fit there all the same.",
    )
    for coverage in measured:
        total = sum(coverage.counts)
        ratios = tuple(Ratio(code, 100 * count / total) for code, count in coverage.reasons)
        figure = Figure(
            coverage.name, (float(sum(n for _, n in coverage.reasons)),), "places", ratios
        )
        section.figures.append(figure)
    return section


def plot(measured: Sequence[Coverage]) -> str:
    """Draw the table as an SVG: one bar for each line."""
    left, width, high, step = 210, 560, 20, 30
    legend = step * len(measured) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 20}"'
        f' height="{legend + 40}" font-family="sans-serif" font-size="13">'
    ]
    for line, coverage in enumerate(measured):
        top = 12 + line * step
        parts.append(
            f'<text x="{left - 10}" y="{top + 15}" text-anchor="end">{escape(coverage.name)}</text>'
        )
        edges = itertools.accumulate(coverage.shares, initial=0.0)
        for (begin, end), colour, kind in zip(
            itertools.pairwise(edges), COLOURS, KINDS, strict=True
        ):
            if end > begin:
                parts.append(
                    f'<rect x="{left + begin * width / 100:.2f}" y="{top}" height="{high}"'
                    f' width="{(end - begin) * width / 100:.2f}" fill="{colour}">'
                    f"<title>{escape(kind)}: {end - begin:.2f} %</title></rect>"
                )
    for index, (kind, colour) in enumerate(zip(KINDS, COLOURS, strict=True)):
        x = left + index % 3 * 180
        y = legend + index // 3 * 18
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="{y}">{escape(kind)}</text>')
    return "\n".join([*parts, "</svg>", ""])
