"""`uprobes latency`: how long do functions take, from entry to return?"""

import json
from collections.abc import Callable

from uprobes import Outcome, Probe, Registration, Return, Target
from uprobes.command.document import document
from uprobes.command.histogram import Histogram
from uprobes.command.options import Options, report_file, usage
from uprobes.command.session import Run, run


def latency(options: Options) -> int:
    """Run it; return the exit code."""
    options.check()
    if not options.specs:
        raise usage("no function is named", "for example: uprobes latency libc:read -p PID")
    histograms: dict[Probe, Histogram] = {}
    with report_file(options) as file:

        def report(result: Run) -> None:
            if options.json:
                print(json.dumps(document(result, histograms)), file=file, flush=True)
            else:
                from uprobes.command.tables import show_latencies

                show_latencies(result, histograms, file)

        def put(target: Target, stop: Callable[[], None]) -> list[Registration]:
            left = options.most_hits or 0

            def take(ret: Return) -> None:
                nonlocal left
                if ret.outcome is Outcome.RETURNED:
                    histogram = histograms.get(ret.probe)
                    if histogram is None:
                        histogram = histograms[ret.probe] = Histogram()
                    histogram.add(ret.elapsed_ns)
                left -= 1
                if left == 0:
                    stop()

            return [
                target.register(
                    options.specs, take, returns=True, where=options.where, method=options.method
                )
            ]

        return run(options, put, report=report).exit_code()
