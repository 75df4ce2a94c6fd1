"""The commands about recordings: their options and their help."""

from dataclasses import replace
from typing import Annotated

import typer

from uprobes.command.arguments import examples, takes
from uprobes.command.options import Options


def add_commands(app: typer.Typer) -> None:
    """Add them to the command."""
    app.command(epilog=RECORD)(record)
    app.command(epilog=REPORT)(report)
    app.command(epilog=EXPORT)(export)
    app.command(epilog=REMOVE)(remove)


RECORD = examples(
    "uprobes record libc:read -f time,tid,arg0,arg2 -p 1234 -d 5",
    "uprobes record 'libc:open*' -f 'time,tid,str(arg0)' -o FILE.npz -- CMD",
    "uprobes record libc:read --returns --where 'int64(ret) < 0' -p 1234",
    "uprobes record 'libcrypto:EVP_*' --mode overwrite --size 64M -p 1234 --detach",
)


@takes("specs", "pid", "json", "duration", "method", "most_hits", "where", "top", "wait")
def record(
    options: Options,
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
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="write records to FILE.npz")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="leave it in the process and go")
    ] = False,
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
) -> int:
    """Record hits with their times and arguments, without stopping anything."""
    from uprobes.command.record import RecordOptions
    from uprobes.command.record import record as run

    own = RecordOptions(fields, measure, returns, sample, limit, mode, size, detach, output)
    return run(options, own)


Source = Annotated[str, typer.Argument(metavar="FILE|PID", help="a recording, or who records")]


REPORT = examples("uprobes report FILE.npz", "uprobes report 1234")


@takes("json", "output", "top")
def report(options: Options, source: Source) -> int:
    """Say what a recording has: by function, duration, thread and time."""
    from uprobes.command.report import report as run

    return run(options, source)


EXPORT = examples(
    "uprobes export FILE.npz --csv",
    "uprobes export FILE.npz --chrome -o trace.json   (for ui.perfetto.dev)",
    "uprobes export 1234 --take -o records.npz        (out of a process that records)",
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


REMOVE = examples("uprobes remove 1234")


@takes("json", "output")
def remove(
    options: Options,
    pid: Annotated[int | None, typer.Argument(metavar="PID", help="the process")] = None,
) -> int:
    """End the recordings of a process and take them out."""
    from uprobes.command.remove import remove as run

    return run(replace(options, pid=pid))
