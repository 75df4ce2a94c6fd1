"""`uprobes count`: how often is each place reached?"""

import json
from collections.abc import Callable

from uprobes import Hit, Registration, Target
from uprobes.command.document import document
from uprobes.command.options import Options, report_file
from uprobes.command.programs import Probed, put_programs
from uprobes.command.session import Run, run

EVERYTHING = ["*", "libc:*"]
"""What is counted when nothing is named: every function of the program and of libc."""


def count(options: Options) -> int:
    """Run it; return the exit code."""
    options.check()
    with report_file(options) as file:

        def report(result: Run) -> None:
            if options.json:
                print(json.dumps(document(result)), file=file, flush=True)
            else:
                from uprobes.command.tables import show_counts

                show_counts(result, file)

        def put(target: Target, stop: Callable[[], None]) -> list[Probed]:
            left = options.most_hits or 0

            def take(_hit: Hit) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    stop()

            def register(specs: list[str]) -> Registration:
                handler = take if options.most_hits else None
                return target.register(specs, handler, where=options.where, method=options.method)

            return put_programs(target, options.specs or EVERYTHING, options, otherwise=register)

        return run(options, put, report=report).exit_code()
