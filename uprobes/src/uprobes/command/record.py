"""`uprobes record`: write down what happens, by code in the process, with nobody stopping it."""

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from uprobes import ProbeError, Target, attach
from uprobes.command.document import document
from uprobes.command.options import IN_PROCESS, Options, report_file, usage
from uprobes.command.programs import Probed, Programs
from uprobes.command.progress import working
from uprobes.command.session import Run, run
from uprobes.names import Resolver
from uprobes.recording.recorded import Recorded
from uprobes.recording.recording import Recording
from uprobes.recording.store import Spool, in_order, save
from uprobes.recording.summary import summarise

BUSY_S, IDLE_S = 0.001, 0.02
"""How long the rings are left alone after a look that found something, and one that did not."""


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What `record` has beyond the options of all."""

    fields: str | None = None
    measures: str = ""
    returns: bool = False
    sample: int = 1
    limit: int | None = None
    mode: str = "drop"
    size: str | None = None
    detach: bool = False
    file: str | None = None

    def begin(self, target: Target, options: Options) -> Recording:
        """Install it; raises ProbeError."""
        return target.record(
            options.specs,
            self.fields,
            measures=self.measures,
            where=options.where,
            sample=self.sample,
            limit=self.limit if self.limit is not None else options.most_hits,
            returns=self.returns,
            size=self.size,
            mode=self.mode,
            method=options.method,
        )


class Drain:
    """A thread that brings records from the rings to a file on disk, as they come.

    It calls `stop` when it can't go on. Raises ProbeError where there is no place for them.
    """

    def __init__(self, recording: Recording, path: str | None, stop: Callable[[], None]) -> None:
        self.recording = recording
        self._path = path
        self._stop = stop
        try:
            folder = None if path is None else os.path.dirname(os.path.abspath(path))
            self.spool = Spool(recording.dtype, folder)
        except OSError as error:
            raise self._no_place(error) from None
        self._enough = threading.Event()
        self._failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name="uprobes drain", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._enough.is_set():
                records = self.recording.read()
                self.spool.add(records)
                self._enough.wait(BUSY_S if len(records) else IDLE_S)
        except BaseException as error:
            self._failure.append(error)
            self._stop()

    def _no_place(self, error: OSError) -> ProbeError:
        where = self._path or "the temporary file"
        return usage(
            f"{where} can't be written: {error.strerror}",
            "choose another file for -o, or record less",
        )

    def _halt(self) -> None:
        self._enough.set()
        self._thread.join()

    def close(self) -> None:
        """End, whatever became of it; what `finish` gave out stays good."""
        self._halt()
        self.spool.close()

    def finish(self) -> Recorded:
        """Take the rest, now that nobody writes any more; raises what went wrong on the way."""
        if not self._enough.is_set():
            self._halt()
            try:
                for failure in self._failure:
                    raise failure
                self.spool.add(self.recording.read(final=True))
            except OSError as error:
                raise self._no_place(error) from None
        name = next((c.name for c in self.recording.columns if c.kind == "time"), None)
        return self.recording.recorded(in_order(self.spool.records(), name))


def record(options: Options, own: RecordOptions) -> int:
    """Run it; return the exit code."""
    options.check()
    if not options.specs:
        raise usage("nothing to record is named", "for example: uprobes record libc:read -p PID")
    if options.method is not None and options.method not in IN_PROCESS:
        raise usage(
            f"--method {options.method} runs a handler, and records are written without one",
            f"use one of {', '.join(IN_PROCESS)}, or uprobes trace",
        )
    if options.follow_forks:
        raise usage("children are not followed", "those of a recorded process share its rings")
    if own.detach:
        return _detached(options, own)
    drains: list[Drain] = []
    with report_file(options) as file:

        def put(target: Target, stop: Callable[[], None]) -> list[Probed]:
            recording = own.begin(target, options)
            drains.append(Drain(recording, own.file, stop))
            drains[0].start()
            return [Programs(recording)]

        def report(result: Run) -> None:
            recorded = drains[0].finish()
            with working("writing the recording"):
                if own.file is not None:
                    _save(recorded, own.file)
            _report(result, recorded, own.file, file)

        try:
            return run(options, put, report=report).exit_code()
        finally:
            for drain in drains:
                drain.close()


def _save(recorded: Recorded, path: str) -> None:
    try:
        save(recorded, path)
    except OSError as error:
        raise usage(
            f"{path} can't be written: {error.strerror}", "choose another file for -o"
        ) from None


def _report(result: Run, recorded: Recorded, path: str | None, file: IO[str]) -> None:
    with working("adding up"):
        summary = summarise(recorded)
    if result.options.json:
        whole: dict[str, Any] = document(result)
        whole["recording"] = {"file": path, **summary.as_document()}
        print(json.dumps(whole), file=file, flush=True)
        return
    from uprobes.command.report import show_summary
    from uprobes.command.tables import console, show_headline, show_refused

    out = console(file)
    show_headline(result, out)
    show_summary(summary, out, result.options.top)
    show_refused(result.refused, out)
    if path is not None:
        out.print(f"{len(recorded.records):,} records are in {path}", soft_wrap=True)


def _detached(options: Options, own: RecordOptions) -> int:
    """Install it and go."""
    if options.pid is None:
        raise usage(
            "a command of ours can't be left alone", "start it by itself, then record -p PID"
        )
    if own.file is not None:
        raise usage("nobody is there to write a file", f"later: uprobes export {options.pid} -o …")
    if options.duration is not None:
        raise usage("nobody is there to watch the time", "uprobes remove PID ends the recording")
    with attach(options.pid) as target:
        recording = own.begin(target, options)
        if not recording.sites and recording.pending:
            raise Resolver().no_such_object(recording.pending[0], options.pid)
        recording.detach()
        refused: list[ProbeError] = recording.refused
        refused += [Resolver().no_such_object(spec, options.pid) for spec in recording.pending]
    with report_file(options) as file:
        if options.json:
            places = [
                {"spec": place.spec, "address": place.address, "method": place.method}
                for place in recording.places
            ]
            errors = [error.as_record() for error in refused]
            print(json.dumps({"pid": options.pid, "places": places, "refused": errors}), file=file)
        else:
            from uprobes.command.tables import console, show_refused

            pid, number = options.pid, len(recording.sites)
            print(
                f"process {pid} records {number:,} {'place' if number == 1 else 'places'} by"
                f" itself now; uprobes report {pid} reads, uprobes remove {pid} ends it",
                file=file,
            )
            show_refused(refused, console(file))
    return 1 if refused else 0
