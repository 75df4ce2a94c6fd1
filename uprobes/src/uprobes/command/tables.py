"""Reports for people: what was hit, at what cost, and what could not be probed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from uprobes import ProbeError
from uprobes.command.document import label, method_of
from uprobes.command.histogram import Histogram, duration
from uprobes.command.options import width_of
from uprobes.command.programs import AnyProbe
from uprobes.command.session import Run
from uprobes.printable import printable_lines

BAR = 40
"""Columns of the longest bar of a histogram."""
HISTOGRAMS = 5
"""Functions whose histogram is drawn; the table has them all."""
EXAMPLES = 3
_EIGHTHS = " ▏▎▍▌▋▊▉█"


class HarmlessConsole(Console):
    """A console on which names are shown, whatever they consist of; its own colours stay."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as ever, with no sign in the text that a terminal would obey."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable_lines(segment.text), segment.style)


def console(file: IO[str]) -> Console:
    """Make a console for a report; colours only on a terminal."""
    return HarmlessConsole(file=file, width=width_of(file), highlight=False, soft_wrap=False)


def table_of(*columns: str, right: Iterable[str] = ()) -> Table:
    """Make a plain table; the columns named in `right` are set flush right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="fold",
            no_wrap=column in right,
        )
    return table


def show_counts(run: Run, file: IO[str]) -> None:
    """Print the report of `count`, and the end of the others'."""
    out = console(file)
    show_headline(run, out)
    shown, rest = _top(run.probes, run.options.top)
    if shown:
        right = ("hits", "misses", "cost/hit")
        table = table_of(*right, "method", "function", right=right)
        for probe in shown:
            cost = duration(probe.cost_ns) if probe.cost_ns is not None else "-"
            table.add_row(
                f"{probe.hits:,}",
                f"{probe.misses:,}",
                cost,
                method_of(probe),
                label(probe.location),
            )
        out.print(table)
    _rest(run, rest, out)
    _end(run, out)


def show_latencies(run: Run, latencies: Mapping[AnyProbe, Histogram], file: IO[str]) -> None:
    """Print the report of `latency`."""
    out = console(file)
    show_headline(run, out)
    shown, rest = _top(run.probes, run.options.top)
    if shown:
        right = ("calls", "min", "mean", "max", "misses", "cost/hit")
        table = table_of(*right, "method", "function", right=right)
        for probe in shown:
            h = latencies.get(probe, Histogram())
            times = [duration(t) if h.count else "-" for t in (h.least, h.mean, h.most)]
            cost = duration(probe.cost_ns) if probe.cost_ns is not None else "-"
            table.add_row(
                f"{h.count:,}",
                *times,
                f"{probe.misses:,}",
                cost,
                method_of(probe),
                label(probe.location),
            )
        out.print(table)
    for probe in shown[:HISTOGRAMS]:
        if (drawn := latencies.get(probe)) is not None and drawn.count:
            draw_histogram(probe, drawn, out)
    _rest(run, rest, out)
    _end(run, out)


def draw_histogram(probe: AnyProbe, histogram: Histogram, out: Console) -> None:
    """Draw how long the calls of a probed function took."""
    draw_bins(label(probe.location), histogram.buckets, out)


def draw_bins(
    name: str,
    bins: Sequence[int],
    out: Console,
    *,
    low_of: Callable[[int], str] | None = None,
) -> None:
    """Draw a histogram, from the first used bin to the last: of times by powers of two, or of
    anything whose bins begin at what `low_of` says.
    """
    out.print()
    out.print(Text(name, style="bold"))
    largest = max(bins)
    used = [index for index, number in enumerate(bins) if number]
    for index in range(used[0], used[-1] + 1):
        number = bins[index]
        eighths = round(number / largest * BAR * 8)
        bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        if low_of is None:
            low = duration(1 << index) if index else "0 ns"
            name = f"{low:>8} … {duration(2 << index):<8}"
        else:
            name = f"{low_of(index):>19}"
        out.print(Text(f"  {name} {number:>10,} "), Text(bar, "green"))


def show_headline(run: Run, out: Console) -> None:
    """Print what ran, for how long, and how it ended."""
    status = run.exit_status
    if status is None:
        end = "still running"
    elif status.signal is not None:
        end = f"ended by signal {status.signal}"
    else:
        end = f"exited with {status.code}"
    out.print(Text(f"{run.options.target} (pid {run.pid}): {run.elapsed_s:.2f} s, {end}", "bold"))


def _top(probes: Sequence[AnyProbe], top: int) -> tuple[list[AnyProbe], list[AnyProbe]]:
    """Split into those to show, most hits first, and the others."""
    ordered = sorted(probes, key=lambda probe: (-probe.hits, -probe.misses))
    active = [probe for probe in ordered if probe.hits or probe.misses]
    few = len(ordered) <= max(top, 1)
    shown = ordered if few or top == 0 else active[:top]
    chosen = set(map(id, shown))
    return shown, [probe for probe in ordered if id(probe) not in chosen]


def _rest(run: Run, rest: Sequence[AnyProbe], out: Console) -> None:
    hit = [probe for probe in rest if probe.hits]
    quiet = len(rest) - len(hit)
    if hit:
        hits = sum(probe.hits for probe in hit)
        out.print(f"… and {hits:,} hits in {len(hit):,} more (--top 0 shows all)")
    if quiet:
        out.print(f"{quiet:,} of {len(run.probes):,} probes were not hit")


def _end(run: Run, out: Console) -> None:
    refused = run.refused
    out.print(
        Text(
            f"{run.hits:,} hits, {run.misses:,} misses, {run.lost:,} lost, "
            f"{len(refused):,} refused",
            "bold",
        )
    )
    show_sampled(run, out)
    for probe, error in run.failures:
        out.print(Text(f"the handler of {label(probe.location)} raised {error!r}", "red"))
    show_refused(refused, out)


def show_sampled(run: Run, out: Console) -> None:
    """Say which probes were in for a part of the time only, and how much of it."""
    rows = sorted(run.sampled.items(), key=lambda item: item[1].share)
    shown = rows if run.options.top == 0 else rows[: run.options.top]
    for probe, sampling in shown:
        out.print(
            Text(
                f"{label(probe.location)}: sampled {100 * sampling.share:.2g} % of the time:"
                f" {probe.hits:,} hits seen, about {rounded(sampling.estimate):,}"
            )
        )
    if len(rows) > len(shown):
        out.print(f"… and {len(rows) - len(shown):,} more were sampled (--top 0 shows all)")


def rounded(count: int) -> int:
    """Return a count with three digits that mean something."""
    return round(count, min(3 - len(str(count)), 0))


def show_refused(refused: Sequence[ProbeError], out: Console) -> None:
    """Print refusals, grouped by code, and by sentence where there are few of them."""
    sentences: dict[str, set[str]] = {}
    for error in refused:
        sentences.setdefault(error.code, set()).add(error.why)
    groups: dict[tuple[str, str], list[ProbeError]] = {}
    for error in refused:
        few = len(sentences[error.code]) <= EXAMPLES
        groups.setdefault((error.code, error.why if few else ""), []).append(error)
    for (code, _), members in sorted(groups.items(), key=lambda item: -len(item[1])):
        if len(members) == 1:
            out.print(Text(f"refused ({code}): {members[0]}"))
            continue
        names = [error.spec or f"{error.address or 0:#x}" for error in members[:EXAMPLES]]
        more = "" if len(members) <= EXAMPLES else f" and {len(members) - EXAMPLES:,} more"
        out.print(Text(f"refused {len(members):,} x {code}: {', '.join(names)}{more}"))
        out.print(Text(f"  {members[0].why}"))
