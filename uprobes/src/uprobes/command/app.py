"""The commands, their options and their help."""

from typing import Annotated, Any

import typer

from insn import Method
from uprobes.command.options import DEFAULT_TOP, Options

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

Specs = Annotated[
    list[str] | None, typer.Argument(metavar="SPEC…", help="what to probe", show_default=False)
]
Pid = Annotated[int | None, typer.Option("-p", "--pid", metavar="PID", help="probe this process")]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]
Duration = Annotated[
    float | None, typer.Option("-d", "--duration", metavar="SECONDS", help="detach after so long")
]
Output = Annotated[
    str | None, typer.Option("-o", "--output", metavar="FILE", help="write the report to FILE")
]
Follow = Annotated[bool, typer.Option("-f", "--follow-forks", help="probe its children too")]
How = Annotated[
    Method | None, typer.Option("--method", help="execute probed instructions only this way")
]
Hits = Annotated[int | None, typer.Option("-n", "--hits", metavar="N", help="stop after N hits")]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="EXPR", help="only hits for which this holds: 'arg0 > 4096'"),
]
Top = Annotated[int, typer.Option("--top", metavar="N", help="lines of the table, 0 for all")]
Wait = Annotated[
    bool, typer.Option("-w", "--wait", help="with -p: wait for objects that are not mapped yet")
]
Overhead = Annotated[
    float | None,
    typer.Option("--max-overhead", metavar="PERCENT", help="take out probes that cost more time"),
]


def _examples(*lines: str) -> str:
    return "Examples:\n\n" + "\n\n".join(lines)


@app.command(
    epilog=_examples(
        "uprobes count 'libc:*alloc*' -- gzip -k file",
        "uprobes count 'libc:str*' -p 1234 -d 5 --json",
        "uprobes count -- sort numbers      (every function of the program and of libc)",
    )
)
def count(
    context: typer.Context,
    specs: Specs = None,
    pid: Pid = None,
    as_json: Json = False,
    duration: Duration = None,
    output: Output = None,
    follow_forks: Follow = False,
    method: How = None,
    hits: Hits = None,
    where: Where = None,
    top: Top = DEFAULT_TOP,
    wait: Wait = False,
    max_overhead: Overhead = None,
) -> int:
    """Count the hits of each probe."""
    from uprobes.command.count import count as run

    return run(
        Options(
            specs or [],
            pid,
            context.obj,
            as_json,
            duration,
            output,
            follow_forks,
            method,
            hits,
            where,
            top,
            wait,
            max_overhead,
        )
    )


@app.command(
    epilog=_examples(
        "uprobes trace libc:open --show arg0:str,arg1 -- cat /etc/hostname",
        "uprobes trace libc:malloc --where 'arg0 > 4096' --returns -n 20 -p 1234",
    )
)
def trace(
    context: typer.Context,
    specs: Specs = None,
    pid: Pid = None,
    show: Annotated[
        str,
        typer.Option("--show", metavar="FIELDS", help="values per hit: arg0,arg1:str,arg2:int,rdi"),
    ] = "arg0,arg1,arg2",
    returns: Annotated[
        bool, typer.Option("-r", "--returns", help="show returns too: value and time")
    ] = False,
    as_json: Json = False,
    duration: Duration = None,
    output: Output = None,
    follow_forks: Follow = False,
    method: How = None,
    hits: Hits = None,
    where: Where = None,
    top: Top = DEFAULT_TOP,
    wait: Wait = False,
    max_overhead: Overhead = None,
) -> int:
    """Print a line for each hit."""
    from uprobes.command.trace import trace as run

    options = Options(
        specs or [], pid, context.obj, as_json, duration, output, follow_forks, method, hits,
        where, top, wait, max_overhead,
    )  # fmt: skip
    return run(options, show, returns=returns)


@app.command(
    epilog=_examples(
        "uprobes latency libc:read -p 1234 -d 5",
        "uprobes latency 'libcrypto:EVP_*' -- openssl dgst file",
    )
)
def latency(
    context: typer.Context,
    specs: Specs = None,
    pid: Pid = None,
    as_json: Json = False,
    duration: Duration = None,
    output: Output = None,
    follow_forks: Follow = False,
    method: How = None,
    hits: Hits = None,
    where: Where = None,
    top: Top = DEFAULT_TOP,
    wait: Wait = False,
    max_overhead: Overhead = None,
) -> int:
    """Time each function from entry to return, as a histogram."""
    from uprobes.command.latency import latency as run

    return run(
        Options(
            specs or [],
            pid,
            context.obj,
            as_json,
            duration,
            output,
            follow_forks,
            method,
            hits,
            where,
            top,
            wait,
            max_overhead,
        )
    )


@app.command(
    epilog=_examples(
        "uprobes check libc:malloc -p 1234",
        "uprobes check /usr/bin/gzip:main+4 /usr/bin/sort:*",
    )
)
def check(
    context: typer.Context,
    specs: Specs = None,
    pid: Pid = None,
    as_json: Json = False,
    output: Output = None,
    top: Top = DEFAULT_TOP,
) -> int:
    """Say whether and how places can be probed, touching nothing."""
    from uprobes.command.check import check as run

    return run(Options(specs or [], pid, context.obj, as_json, None, output, top=top))


@app.command(
    "list",
    epilog=_examples(
        "uprobes list -p 1234                (the objects)",
        "uprobes list 'libc:pthread_*' -p 1234",
        "uprobes list '/usr/bin/gzip:*'",
        "uprobes list 1234                   (what it records by itself)",
    ),
)
def list_(
    context: typer.Context,
    specs: Specs = None,
    pid: Pid = None,
    as_json: Json = False,
    output: Output = None,
) -> int:
    """List what specs name, with all three addresses."""
    from uprobes.command.listing import list_places as run

    return run(Options(specs or [], pid, context.obj, as_json, None, output))


@app.command(epilog=_examples("uprobes doctor", "uprobes doctor -p 1234"))
def doctor(
    context: typer.Context,
    pid: Pid = None,
    as_json: Json = False,
    output: Output = None,
) -> int:
    """Say what stands in the way of probing (a process), and what to do about it."""
    from uprobes.command.doctor import doctor as run

    return run(Options([], pid, context.obj, as_json, None, output))


@app.command(
    epilog=_examples(
        "uprobes record libc:read -f time,tid,arg0,arg2 -p 1234 -d 5",
        "uprobes record 'libc:open*' -f 'time,tid,str(arg0)' -o FILE.npz -- CMD",
        "uprobes record libc:read --returns --where 'int64(ret) < 0' -p 1234",
        "uprobes record 'libcrypto:EVP_*' --mode overwrite --size 64M -p 1234 --detach",
    )
)
def record(
    context: typer.Context,
    specs: Specs = None,
    fields: Annotated[
        str | None,
        typer.Option(
            "-f",
            "--fields",
            metavar="FIELDS",
            help="what a record holds: time,tid,arg0,ret,elapsed,u32(arg0+8),str(arg1)",
        ),
    ] = None,
    returns: Annotated[
        bool, typer.Option("-r", "--returns", help="record when functions return")
    ] = False,
    pid: Pid = None,
    duration: Duration = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="write records to FILE.npz")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="leave it in the process and go")
    ] = False,
    where: Where = None,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", help="only the first of every N hits")
    ] = 1,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", help="only the first N at each place")
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", help="full rings drop new records, or overwrite old ones")
    ] = "drop",
    size: Annotated[
        str | None, typer.Option("--size", metavar="SIZE", help="memory of all rings: 64M")
    ] = None,
    measure: Annotated[
        str,
        typer.Option("--measure", metavar="LIST", help="compute there: sum(arg2),log2(elapsed)"),
    ] = "",
    hits: Hits = None,
    method: How = None,
    as_json: Json = False,
    top: Top = DEFAULT_TOP,
    wait: Wait = False,
) -> int:
    """Record hits with their times and arguments, without stopping anything."""
    from uprobes.command.record import RecordOptions
    from uprobes.command.record import record as run

    own = RecordOptions(fields, measure, returns, sample, limit, mode, size, detach, output)
    options = Options(
        specs or [], pid, context.obj, as_json, duration, None, False, method, hits, where, top,
        wait,
    )  # fmt: skip
    return run(options, own)


Source = Annotated[str, typer.Argument(metavar="FILE|PID", help="a recording, or who records")]


@app.command(epilog=_examples("uprobes report FILE.npz", "uprobes report 1234"))
def report(
    context: typer.Context,
    source: Source,
    as_json: Json = False,
    output: Output = None,
    top: Top = DEFAULT_TOP,
) -> int:
    """Say what a recording has: by function, duration, thread and time."""
    from uprobes.command.report import report as run

    return run(Options([], None, context.obj, as_json, None, output, top=top), source)


@app.command(
    epilog=_examples(
        "uprobes export FILE.npz --csv",
        "uprobes export FILE.npz --chrome -o trace.json   (for ui.perfetto.dev)",
        "uprobes export 1234 --take -o records.npz        (out of a process that records)",
    )
)
def export(
    source: Source,
    as_csv: Annotated[bool, typer.Option("--csv", help="a table")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="an object a line")] = False,
    as_chrome: Annotated[
        bool, typer.Option("--chrome", help="trace events, as Perfetto opens them")
    ] = False,
    as_npz: Annotated[bool, typer.Option("--npz", help="numpy's own format")] = False,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="write to FILE")
    ] = None,
    take: Annotated[
        bool, typer.Option("--take", help="take the records out of the process, making room")
    ] = False,
) -> int:
    """Write a recording in another format."""
    from uprobes.command.export import export as run
    from uprobes.command.options import usage

    wanted = {"csv": as_csv, "json": as_json, "chrome": as_chrome, "npz": as_npz}
    forms = [form for form, chosen in wanted.items() if chosen]
    if len(forms) > 1:
        raise usage("one format at a time", "--csv, --json, --chrome or --npz")
    return run(source, forms[0] if forms else None, output, take=take)


@app.command(epilog=_examples("uprobes remove 1234"))
def remove(
    context: typer.Context,
    pid: Annotated[int | None, typer.Argument(metavar="PID", help="the process")] = None,
    as_json: Json = False,
    output: Output = None,
) -> int:
    """End the recordings of a process and take them out."""
    from uprobes.command.remove import remove as run

    return run(Options([], pid, context.obj, as_json, None, output))


@app.command(epilog=_examples("uprobes rescue 1234"))
def rescue(
    context: typer.Context,
    pid: Annotated[int | None, typer.Argument(metavar="PID", help="the process")] = None,
    as_json: Json = False,
    output: Output = None,
) -> int:
    """Put everything back in a process whose tracer was killed."""
    from uprobes.command.rescue import rescue as run

    return run(Options([], pid, context.obj, as_json, None, output))
