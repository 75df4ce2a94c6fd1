"""The commands, their options and their help."""

from dataclasses import replace
from typing import Annotated, Any

import typer

from uprobes.command import recorder
from uprobes.command.arguments import PROBING, examples, takes
from uprobes.command.options import Options

UsageError: Any = typer.BadParameter.__bases__[0]
"""What the option parser raises, wherever typer keeps that parser."""

app = typer.Typer(
    name="uprobes",
    help="Probe live, unmodified processes: count, trace, time and record their functions.",
    epilog="Targets: -p PID for a running process, or -- CMD ARGUMENT… for a new one. "
    "Specs: OBJECT:FUNCTION[+OFFSET], OBJECT:GLOB, OBJECT:/REGEX/, va:0x…, elf:OBJECT:0x…, "
    "off:OBJECT:0x…; FUNCTION alone means the main program's.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command(
    epilog=examples(
        "uprobes count 'libc:*alloc*' -- gzip -k file",
        "uprobes count 'libc:str*' -p 1234 -d 5 --json",
        "uprobes count -- sort numbers      (every function of the program and of libc)",
    )
)
@takes(*PROBING)
def count(options: Options) -> int:
    """Count the hits of each probe."""
    from uprobes.command.count import count as run

    return run(options)


@app.command(
    epilog=examples(
        "uprobes trace libc:open --show arg0:str,arg1 -- cat /etc/hostname",
        "uprobes trace libc:malloc --where 'arg0 > 4096' --returns -n 20 -p 1234",
    )
)
@takes(*PROBING)
def trace(
    options: Options,
    show: Annotated[
        str,
        typer.Option("--show", metavar="FIELDS", help="values per hit: arg0,arg1:str,arg2:int,rdi"),
    ] = "arg0,arg1,arg2",
    returns: Annotated[
        bool, typer.Option("-r", "--returns", help="show returns too: value and time")
    ] = False,
) -> int:
    """Print a line for each hit."""
    from uprobes.command.trace import trace as run

    return run(options, show, returns=returns)


@app.command(
    epilog=examples(
        "uprobes latency libc:read -p 1234 -d 5",
        "uprobes latency 'libcrypto:EVP_*' -- openssl dgst file",
    )
)
@takes(*PROBING)
def latency(options: Options) -> int:
    """Time each function from entry to return, as a histogram."""
    from uprobes.command.latency import latency as run

    return run(options)


@app.command(
    epilog=examples(
        "uprobes check libc:malloc -p 1234",
        "uprobes check /usr/bin/gzip:main+4 /usr/bin/sort:*",
    )
)
@takes("specs", "pid", "json", "output", "top")
def check(options: Options) -> int:
    """Say whether and how places can be probed, touching nothing."""
    from uprobes.command.check import check as run

    return run(options)


@app.command(
    "list",
    epilog=examples(
        "uprobes list -p 1234                (the objects)",
        "uprobes list 'libc:pthread_*' -p 1234",
        "uprobes list '/usr/bin/gzip:*'",
        "uprobes list 1234                   (what it records by itself)",
    ),
)
@takes("specs", "pid", "json", "output")
def list_(options: Options) -> int:
    """List what specs name, with all three addresses."""
    from uprobes.command.listing import list_places as run

    return run(options)


@app.command(epilog=examples("uprobes doctor", "uprobes doctor -p 1234"))
@takes("pid", "json", "output")
def doctor(options: Options) -> int:
    """Say what stands in the way of probing (a process), and what to do about it."""
    from uprobes.command.doctor import doctor as run

    return run(options)


@app.command(epilog=examples("uprobes rescue 1234"))
@takes("json", "output")
def rescue(
    options: Options,
    pid: Annotated[int | None, typer.Argument(metavar="PID", help="the process")] = None,
) -> int:
    """Put everything back in a process whose tracer was killed."""
    from uprobes.command.rescue import rescue as run

    return run(replace(options, pid=pid))


recorder.add_commands(app)
