"""One run: begin, register, let the target go on until something ends it, detach."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

from uprobes import (
    Budget,
    ExitStatus,
    NoSuchObject,
    Overwritten,
    Probe,
    ProbeError,
    Sampling,
    Target,
    TargetGone,
    attach,
    spawn,
)
from uprobes.command.options import Options
from uprobes.command.programs import AnyProbe, Probed, Programs
from uprobes.command.progress import counting, working
from uprobes.names import Resolver
from uprobes.status import command_line

TICK = 0.25
"""Seconds between two looks at what may end the run."""
GRACE = 1.0
"""Seconds that a command gets to end by the Ctrl-C that it and we both received."""
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Run:
    """What one run came to; filled in as it goes."""

    options: Options
    pid: int = 0
    command: list[str] = field(default_factory=list)
    registrations: list[Probed] = field(default_factory=list)
    exit_status: ExitStatus | None = None
    elapsed_s: float = 0.0
    failures: list[tuple[Probe, Exception]] = field(default_factory=list)
    over_budget: list[ProbeError] = field(default_factory=list)
    sampled: dict[Probe, Sampling] = field(default_factory=dict)
    """What was in for a part of the time only, for the sake of the budget."""
    stopped: threading.Event = field(default_factory=threading.Event)
    signal: int = 0
    """The signal that ended the run, 0 if none did."""

    @property
    def probes(self) -> list[AnyProbe]:
        """All probes that were in."""
        return [probe for registration in self.registrations for probe in registration.probes]

    @property
    def refused(self) -> list[ProbeError]:
        """All refusals, those of specs whose object never came included."""
        refused = [error for r in self.registrations for error in r.refused] + self.over_budget
        errors = [probe.error for probe in self.probes if isinstance(probe, Probe)]
        refused += [error for error in errors if isinstance(error, Overwritten)]
        told = {error.spec for error in refused}
        never = [spec for r in self.registrations for spec in r.pending if spec not in told]
        why = "no object of that name was mapped before the end"
        refused += [
            NoSuchObject(why, spec=spec, hint="was the library loaded?")
            for spec in dict.fromkeys(never)
        ]
        return refused

    @property
    def hits(self) -> int:
        """The hits of all probes."""
        return sum(probe.hits for probe in self.probes)

    @property
    def misses(self) -> int:
        """The misses of all probes."""
        return sum(probe.misses for probe in self.probes)

    @property
    def lost(self) -> int:
        """Records that were lost."""
        return sum(r.recording.lost for r in self.registrations if isinstance(r, Programs))

    def exit_code(self) -> int:
        """Return what we should exit with; negative: the signal to end by."""
        if self.options.command is not None and self.exit_status is not None:
            if self.exit_status.signal is not None:
                return -self.exit_status.signal
            return self.exit_status.code or 0
        return 1 if self.refused or self.misses else 0


Put = Callable[[Target, Callable[[], None]], list[Probed]]


def run(
    options: Options,
    put: Put,
    *,
    tick: Callable[[], object] = lambda: None,
    report: Callable[[Run], object] = lambda _run: None,
    live: bool = True,
) -> Run:
    """Probe a target until it ends, the time or the hits are over, or a signal asks us to stop.

    `put` registers the probes, and gets what ends the run early; `tick` is called about four times
    a second; `report` once, as soon as all counts are final; `live` shows progress on a terminal.
    Raises ProbeError where nothing could be probed at all.
    """
    options.check()
    result = Run(options)
    with _signals(result), _begin(options) as target:

        def stop() -> None:
            result.stopped.set()
            target.stop()

        result.pid = target.pid
        result.command = options.command or command_line(target.pid)
        try:
            with working("finding functions and arming probes"):
                result.registrations = put(target, stop)
            _refuse_nothing(result)
        except BaseException:
            if options.command is not None:
                target.kill()  # it has not begun: nothing of it must be left behind
            raise
        start = time.monotonic()

        def every_tick() -> None:
            tick()
            if options.most_hits is not None and result.hits >= options.most_hits:
                stop()
            show(f"{time.monotonic() - start:.0f} s, {result.hits:,} hits; Ctrl-C ends")

        with counting(shown=live and options.pid is not None) as show, _limited(result, target):
            _wait(result, target, start, every_tick)
        result.elapsed_s = time.monotonic() - start
        with working("taking probes out"):
            target.detach()
        result.exit_status = target.exit_status
        result.failures = list(target.failures)
        tick()
        ended = result.exit_status is not None
        if not (options.json and options.command) or ended:
            report(result)
        if options.command is not None and not ended:
            result.exit_status = _wait_for_command(result)
            if options.json:
                report(result)
    return result


@contextlib.contextmanager
def _begin(options: Options) -> Iterator[Target]:
    if options.pid is not None:
        with working(f"attaching to process {options.pid}"):
            target = attach(options.pid, follow_forks=options.follow_forks)
    else:
        assert options.command is not None
        target = spawn(options.command, follow_forks=options.follow_forks)
    with target:
        yield target


@contextlib.contextmanager
def _limited(result: Run, target: Target) -> Iterator[None]:
    """Keep the probes within the budget, if there is one, for as long as the body runs."""
    percent = result.options.max_overhead
    if percent is None:
        yield
        return
    budget = Budget(target, percent)
    result.over_budget = budget.taken_out
    budget.begin()
    try:
        yield
    finally:
        budget.end()
        result.sampled = budget.sampled


def _refuse_nothing(result: Run) -> None:
    """Raise the reason when nothing is probed and nothing will be."""
    registrations, options = result.registrations, result.options
    if any(r.probes for r in registrations):
        return
    refused = [error for r in registrations for error in r.refused]
    pending = [spec for r in registrations for spec in r.pending]
    if pending and (options.command is not None or options.wait):
        return
    if refused:
        raise refused[0]
    if pending:
        raise Resolver().no_such_object(pending[0], result.pid)
    raise ProbeError("there is nothing to probe", code="usage", hint="name functions: libc:malloc")


@contextlib.contextmanager
def _signals(result: Run) -> Iterator[None]:
    """Turn the signals that end programs into a clean end, for as long as the body runs.

    With a command of our own, the terminal sends it the same Ctrl-C: it gets the time to end by
    itself. The other signals are for us alone, and are handed on to it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def take(number: int, _frame: FrameType | None) -> None:
        first = not result.signal
        result.signal = number
        if number == signal.SIGINT and result.options.command is not None and first:
            timer = threading.Timer(GRACE, result.stopped.set)
            timer.daemon = True
            timer.start()
        else:
            result.stopped.set()

    # One that is ignored already (nohup) stays ignored.
    wanted = [n for n in ENDING if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, take) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(result: Run, target: Target, start: float, tick: Callable[[], object]) -> None:
    limit = result.options.duration
    while not result.stopped.is_set():
        left = TICK if limit is None else min(TICK, start + limit - time.monotonic())
        if left <= 0:
            return
        try:
            if target.run(left) is not None:
                return
        except TargetGone:
            return
        tick()


def _wait_for_command(result: Run) -> ExitStatus:
    """Wait for the end of our detached command; hand it the signal that was for both of us."""
    handed = signal.SIGINT  # the terminal sent that to the command too
    while True:
        if result.signal and result.signal != handed:
            handed = signal.Signals(result.signal)
            with contextlib.suppress(ProcessLookupError):
                os.kill(result.pid, handed)
        try:
            pid, status = os.waitpid(result.pid, os.WNOHANG)
        except ChildProcessError:
            return ExitStatus(0, None)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            return ExitStatus(code, None) if code >= 0 else ExitStatus(None, -code)
        time.sleep(0.02)
