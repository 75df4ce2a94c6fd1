"""`uprobes trace`: a line for each hit, and for each return."""

import json
import time
from collections.abc import Callable
from typing import IO

from uprobes import Hit, Return, Target
from uprobes.command.document import document, function_of, label
from uprobes.command.fields import Field, parse_fields, written
from uprobes.command.histogram import duration
from uprobes.command.options import Options, report_file, usage
from uprobes.command.programs import Probed
from uprobes.command.session import Run, run
from uprobes.printable import printable

FLUSH_EVERY_NS = 200_000_000


class Lines:
    """Writes one line per event; stops the target when enough are written or nobody reads."""

    def __init__(self, file: IO[str], fields: list[Field], options: Options) -> None:
        self._file = file
        self._fields = fields
        self._json = options.json
        self._left = options.most_hits
        self._start = self._flushed = time.monotonic_ns()
        self.stop: Callable[[], None] = lambda: None
        self.broken = False

    def hit(self, hit: Hit) -> None:
        """Write a hit."""
        if self._left == 0 or self.broken:
            return
        values = {field.text: field.read(hit) for field in self._fields}
        if self._json:
            self._event(hit, {"event": "hit", "args": values})
        else:
            shown = ", ".join(written(field, values[field.text]) for field in self._fields)
            self._write(f"{self._lead(hit)} {label(hit.probe.location)}({shown})")
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self.stop()

    def ret(self, ret: Return) -> None:
        """Write a return."""
        if self.broken:
            return
        if self._json:
            ended = {
                "event": "return",
                "value": ret.value,
                "elapsed_ns": ret.elapsed_ns,
                "outcome": str(ret.outcome),
            }
            self._event(ret, ended)
            return
        end = f"= {ret.value:#x}" if ret.outcome == "returned" else str(ret.outcome)
        name = label(ret.probe.location)
        self._write(f"{self._lead(ret)} {name} {end} after {duration(ret.elapsed_ns)}")

    def _lead(self, hit: Hit) -> str:
        return f"{(time.monotonic_ns() - self._start) / 1e9:12.6f} {hit.tid:>7}"

    def _event(self, hit: Hit, special: dict[str, object]) -> None:
        location = hit.probe.location
        event = {
            "event": special.pop("event"),
            "time_ns": time.monotonic_ns(),
            "pid": hit.pid,
            "tid": hit.tid,
            "spec": location.spec,
            "object": location.object or None,
            "function": function_of(location),
            "address": location.address,
            **special,
        }
        self._write(json.dumps(event))

    def _write(self, line: str) -> None:
        try:
            self._file.write(printable(line) + "\n")
            now = time.monotonic_ns()
            if now - self._flushed > FLUSH_EVERY_NS:
                self._flushed = now
                self._file.flush()
        except BrokenPipeError:
            self._hung_up()

    def flush(self) -> None:
        """Bring what was written to the reader."""
        try:
            if not self.broken:
                self._file.flush()
        except BrokenPipeError:
            self._hung_up()

    def _hung_up(self) -> None:
        self.broken = True
        self.stop()


def trace(options: Options, show: str, *, returns: bool) -> int:
    """Run it; return the exit code."""
    options.check()
    options.check_handler()
    if not options.specs:
        raise usage("nothing to trace is named", "for example: uprobes trace libc:open -p PID")
    fields = parse_fields(show)
    with report_file(options) as file:
        lines = Lines(file, fields, options)

        def put(target: Target, stop: Callable[[], None]) -> list[Probed]:
            lines.stop = stop
            return [
                target.register(
                    options.specs,
                    lines.ret if returns else lines.hit,
                    returns=returns,
                    save=lines.hit if returns else None,
                    where=options.where,
                    method=options.method,
                )
            ]

        def report(result: Run) -> None:
            lines.flush()
            if lines.broken:
                raise BrokenPipeError
            if options.json:
                print(json.dumps({"event": "summary", **document(result)}), file=file, flush=True)
            else:
                from uprobes.command.tables import show_counts

                show_counts(result, file)

        return run(options, put, tick=lines.flush, report=report, live=False).exit_code()
