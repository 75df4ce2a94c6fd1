"""`uprobes latency`: how long do functions take, from entry to return?"""

import json
from collections.abc import Callable, Iterable, Iterator

from uprobes import Outcome, Probe, Registration, Return, Target
from uprobes.command.document import document
from uprobes.command.histogram import Histogram
from uprobes.command.options import Options, report_file, usage
from uprobes.command.programs import AnyProbe, Probed, Programs, put_programs
from uprobes.command.session import Run, run

MEASURES = ("sum(elapsed)", "min(elapsed)", "max(elapsed)", "log2(elapsed)")


def latency(options: Options) -> int:
    """Run it; return the exit code."""
    options.check()
    if not options.specs:
        raise usage("no function is named", "for example: uprobes latency libc:read -p PID")
    handled: dict[Probe, Histogram] = {}
    with report_file(options) as file:

        def report(result: Run) -> None:
            histograms: dict[AnyProbe, Histogram] = dict(_measured(result.registrations))
            histograms |= dict(handled.items())
            if options.json:
                print(json.dumps(document(result, histograms)), file=file, flush=True)
            else:
                from uprobes.command.tables import show_latencies

                show_latencies(result, histograms, file)

        def put(target: Target, stop: Callable[[], None]) -> list[Probed]:
            left = options.most_hits or 0

            def take(ret: Return) -> None:
                nonlocal left
                if ret.outcome is Outcome.RETURNED:
                    histogram = handled.get(ret.probe)
                    if histogram is None:
                        histogram = handled[ret.probe] = Histogram()
                    histogram.add(ret.elapsed_ns)
                left -= 1
                if left == 0:
                    stop()

            def register(specs: list[str]) -> Registration:
                return target.register(
                    specs, take, returns=True, where=options.where, method=options.method
                )

            return put_programs(
                target,
                options.specs,
                options,
                measures=MEASURES,
                returns=True,
                otherwise=register,
            )

        return run(options, put, report=report).exit_code()


def _measured(registrations: Iterable[Probed]) -> Iterator[tuple[AnyProbe, Histogram]]:
    """Give the histogram of each site whose calls were timed in the process itself."""
    for programs in registrations:
        if isinstance(programs, Programs):
            results = programs.recording.results()
            for probe, result in zip(programs.probes, results, strict=True):
                total, least, most, bins = result.measures.values()
                assert isinstance(bins, tuple)
                yield (
                    probe,
                    Histogram(sum(bins), _number(total), _number(least), _number(most), [*bins]),
                )


def _number(measured: object) -> int:
    return measured if isinstance(measured, int) else 0
