"""The arguments and options that several commands have."""

from typing import Annotated

import typer

from insn import Method

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
    typer.Option("--max-overhead", metavar="PERCENT", help="sample probes that cost more time"),
]


def examples(*lines: str) -> str:
    """Write the end of a command's help."""
    return "Examples:\n\n" + "\n\n".join(lines)
