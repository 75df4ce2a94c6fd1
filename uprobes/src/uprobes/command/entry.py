"""Where the command begins and ends: arguments in, exit code out, errors without tracebacks."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from uprobes.errors import ProbeError
from uprobes.printable import printable_lines

USAGE = 2
"""Exit code for everything that kept the work from being begun."""
INTERRUPTED = 128 + signal.SIGINT


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 1 something refused or missed, 2 nothing could be done.

    With `-- CMD …` the exit code is the command's own; if a signal killed the command, the same
    signal kills us, as strace does, so that whoever started us sees what happened.
    """
    code = run(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        quiet_pipe()
    if code < 0:
        end_like(-code)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code, or a negative number: the signal to end by."""
    own, command = split(arguments)
    as_json = "--json" in own
    from uprobes.command.app import UsageError, app

    try:
        code = app(args=own, prog_name="uprobes", standalone_mode=False, obj=command)
    except ProbeError as error:
        report(error, as_json=as_json, to_stderr=command is not None)
        return USAGE
    except UsageError as error:
        usage = ProbeError(error.format_message(), code="usage", hint="see uprobes --help")
        report(usage, as_json=as_json, to_stderr=command is not None)
        return USAGE
    except BrokenPipeError:
        quiet_pipe()
        return 1
    except KeyboardInterrupt:
        print("error: interrupted before anything was probed", file=sys.stderr)
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def split(arguments: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Split at the first `--`: our own arguments, and the command (None without `--`)."""
    own = list(arguments)
    if "--" not in own:
        return own, None
    at = own.index("--")
    return own[:at], own[at + 1 :]


def report(error: ProbeError, *, as_json: bool, to_stderr: bool) -> None:
    """Print an error: as a line for people, or as the document that scripts expect."""
    if as_json:
        print(
            json.dumps({"error": error.as_record()}), file=sys.stderr if to_stderr else sys.stdout
        )
        return
    print(printable_lines(f"error: {error}"), file=sys.stderr)


def end_like(number: int) -> None:
    """End by a signal, without a core file of our own; returns where that signal doesn't end us."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    sys.exit(128 + number)


def quiet_pipe() -> None:
    """Let the interpreter flush into nothing at its end: nobody reads our output any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
