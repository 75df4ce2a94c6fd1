"""The arguments and options that several commands have."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any

import typer

from insn import Method
from uprobes.command.options import Options

SHARED: dict[str, object] = {
    "specs": Annotated[
        list[str] | None, typer.Argument(metavar="SPEC…", help="what to probe", show_default=False)
    ],
    "pid": Annotated[
        int | None, typer.Option("-p", "--pid", metavar="PID", help="probe this process")
    ],
    "json": Annotated[bool, typer.Option("--json", help="print JSON instead of tables")],
    "duration": Annotated[
        float | None,
        typer.Option("-d", "--duration", metavar="SECONDS", help="detach after so long"),
    ],
    "output": Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="write the report to FILE")
    ],
    "follow_forks": Annotated[
        bool, typer.Option("-f", "--follow-forks", help="probe its children too")
    ],
    "method": Annotated[
        Method | None, typer.Option("--method", help="execute probed instructions only this way")
    ],
    "most_hits": Annotated[
        int | None, typer.Option("-n", "--hits", metavar="N", help="stop after N hits")
    ],
    "where": Annotated[
        str | None,
        typer.Option(
            "--where", metavar="EXPR", help="only hits for which this holds: 'arg0 > 4096'"
        ),
    ],
    "top": Annotated[int, typer.Option("--top", metavar="N", help="lines of the table, 0 for all")],
    "wait": Annotated[
        bool, typer.Option("-w", "--wait", help="with -p: wait for objects that are not mapped yet")
    ],
    "max_overhead": Annotated[
        float | None,
        typer.Option("--max-overhead", metavar="PERCENT", help="sample probes that cost more time"),
    ],
}
"""By their names in `Options`, whose defaults are theirs."""
DEFAULTS = {field.name: field.default for field in fields(Options)} | {"specs": None}
PROBING = (
    "specs", "pid", "json", "duration", "output", "follow_forks", "method", "most_hits", "where",
    "top", "wait", "max_overhead",
)  # fmt: skip
"""What the commands that put probes in have."""


def takes(*names: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command shared options, handed to its function as one `Options` before its own."""

    def decorate(run: Callable[..., int]) -> Callable[..., int]:
        def command(context: typer.Context, **given: Any) -> int:  # noqa: ANN401 - what typer parsed
            shared = {name: given.pop(name) for name in names}
            shared["specs"] = shared.get("specs") or []
            return run(Options(command=context.obj, **shared), **given)

        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter("context", keyword, annotation=typer.Context),
            *(
                inspect.Parameter(n, keyword, default=DEFAULTS[n], annotation=SHARED[n])
                for n in names
            ),
            *(
                p.replace(kind=keyword)
                for p in list(inspect.signature(run).parameters.values())[1:]
            ),
        ]
        command.__name__, command.__doc__ = run.__name__, run.__doc__
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # PEP 362
        return command

    return decorate


def examples(*lines: str) -> str:
    """Write the end of a command's help."""
    return "Examples:\n\n" + "\n\n".join(lines)
