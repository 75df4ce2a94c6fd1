"""`uprobes report`: what a recording says, from a file or from a process that records by itself."""

import json
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from uprobes.command.histogram import duration
from uprobes.command.options import Options, report_file, usage
from uprobes.command.source import open_source
from uprobes.command.tables import HISTOGRAMS, console, draw_bins, table_of
from uprobes.printable import printable
from uprobes.recording.fields import split_fields
from uprobes.recording.recorded import Recorded
from uprobes.recording.summary import Function, Summary, summarise

LEVELS = " ▁▂▃▄▅▆▇█"


def report(options: Options, source: str) -> int:
    """Run it; return 1 when the figures are not to be relied on, else 0."""
    if options.command is not None or options.pid is not None:
        raise usage("report takes a file, or the number of a process", "uprobes report FILE")
    opened = [(recorded, summarise(recorded)) for recorded in open_source(source)]
    with report_file(options) as file:
        if options.json:
            documents = [_document(recorded, summary) for recorded, summary in opened]
            print(json.dumps({"recordings": documents}), file=file)
        else:
            out = console(file)
            for number, (recorded, summary) in enumerate(opened):
                if number:
                    out.print()
                out.print(Text(_headline(recorded), "bold"))
                show_summary(summary, out, options.top)
    return 1 if any(summary.damaged for _, summary in opened) else 0


def _headline(recorded: Recorded) -> str:
    program = printable(" ".join(recorded.command)) or "process"
    seconds = (recorded.ended_ns - recorded.began_ns) / 1e9 if recorded.began_ns else 0
    since = f": {seconds:.2f} s" if seconds else ""
    return f"{program} (pid {recorded.pid}){since}"


def _document(recorded: Recorded, summary: Summary) -> dict[str, object]:
    return {
        "target": {"pid": recorded.pid, "command": list(recorded.command)},
        "began_ns": recorded.began_ns,
        "ended_ns": recorded.ended_ns,
        "wall_ns": recorded.wall_ns,
        "error_ns": recorded.error_ns,
        "hits": sum(place.hits for place in recorded.places),
        "refused": list(recorded.refused),
        **summary.as_document(),
    }


def show_summary(summary: Summary, out: Console, top: int) -> None:
    """Print a summary: functions, their durations, the commonest values, and when it was."""
    shown = summary.functions if top == 0 else summary.functions[:top]
    timed = any(function.latency for function in shown)
    times = ("min", "mean", "median", "99 %", "max") if timed else ()
    right = ("records", "share", "per s", *times)
    if shown:
        table = table_of(*right, "method", "function", right=right)
        for function in shown:
            table.add_row(*_row(function, timed=timed))
        out.print(table)
    left = len(summary.functions) - len(shown)
    if left:
        out.print(f"… and {left:,} more functions (--top 0 shows all)")
    for function in [function for function in shown if function.latency][:HISTOGRAMS]:
        assert function.latency is not None
        draw_bins(function.place.label, function.latency.log2_ns, out)
    _show_counted(summary, out, top)
    _show_tops(summary, out)
    _show_timeline(summary, out)
    damaged = f", {summary.damaged:,} DAMAGED" if summary.damaged else ""
    out.print(Text(f"{summary.records:,} records, {summary.lost:,} lost{damaged}", "bold"))
    if summary.damaged:
        out.print(
            Text("the process wrote into the rings itself: no figure here can be relied on", "red")
        )


def _row(function: Function, *, timed: bool) -> list[str]:
    latency = function.latency
    times = ["-"] * 5 * timed
    if latency is not None:
        measured = (latency.min_ns, latency.mean_ns, latency.median_ns, latency.p99_ns)
        times = [duration(ns) for ns in (*measured, latency.max_ns)]
    return [
        f"{function.records:,}",
        f"{function.share:.1%}",
        "-" if function.per_s is None else f"{function.per_s:,.0f}",
        *times,
        function.place.method,
        function.place.label,
    ]


def _show_counted(summary: Summary, out: Console, top: int) -> None:
    shown = summary.counted if top == 0 else summary.counted[:top]
    if not shown:
        return
    numbers = [
        name
        for name in shown[0].measures
        if not any(isinstance(counted.measures.get(name), Sequence) for counted in shown)
    ]
    right = ("hits", "passed", *map(printable, numbers))
    table = table_of(*right, "function", right=right)
    for counted in shown:
        values = [counted.measures.get(name) for name in numbers]
        written = [f"{value:,}" if isinstance(value, int) else "-" for value in values]
        table.add_row(f"{counted.hits:,}", f"{counted.passed:,}", *written, counted.label)
    out.print(table)
    for counted in shown[:HISTOGRAMS]:
        for name, value in counted.measures.items():
            if isinstance(value, Sequence) and any(value):
                title = printable(f"{name} of {counted.label}")
                draw_bins(title, value, out, low_of=_bounds(name))


def _bounds(measure: str) -> Callable[[int], str]:
    """Say how the bins of a histogram are called."""
    if not measure.lstrip().startswith("linear"):
        return lambda index: f"{1 << index if index else 0:,}"
    try:
        _, *numbers = split_fields(measure.strip()[len("linear(") : -1])
        low, width, bins = (int(number, 0) for number in numbers)
    except ValueError:  # a file may hold anything
        return str
    ends = {bins: f"below {low:,}", bins + 1: f"from {low + bins * width:,}"}
    return lambda index: ends.get(index, f"{low + index * width:,}")


def _show_tops(summary: Summary, out: Console) -> None:
    for top in summary.tops:
        if not top.values or top.distinct == summary.records > 1:
            continue
        values = ", ".join(f"{value!r} {count:,} x" for value, count in top.values[:5])
        more = f" and {top.distinct - 5:,} more" if top.distinct > 5 else ""
        out.print(Text(f"{top.column}: {values}{more}"), soft_wrap=True)


def _show_timeline(summary: Summary, out: Console) -> None:
    line = summary.timeline
    if line is None or summary.span_ns is None or not any(line.counts):
        return
    largest = max(line.counts)
    bars = "".join(
        LEVELS[max(1, round(count / largest * (len(LEVELS) - 1))) if count else 0]
        for count in line.counts
    )
    peak = largest / line.width_ns * 1e9
    out.print(Text.assemble("when: ▕", (bars, "green"), "▏"), soft_wrap=True)
    out.print(f"      {duration(summary.span_ns)}, {peak:,.0f} a second at most")
