"""The commands of `insn`, their options and their help."""

import sys
from typing import Annotated, Any

import typer

from insn.arch import names
from insn.command.failure import CommandError, show_error
from insn.errors import InsnError

USAGE = 2
UsageError: Any = typer.BadParameter.__bases__[0]
"""What the option parser raises, wherever typer keeps that parser."""

app = typer.Typer(
    name="insn",
    help="What is this instruction, may it be probed, and how? Nothing is run, nothing is written.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]


def _examples(*lines: str) -> str:
    return "Examples:\n\n" + "\n\n".join(lines)


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise CommandError(
            f"{text!r} is no address", spec=text, hint="write it like 0x401000 or 4198400"
        ) from None


@app.command(
    epilog=_examples(
        "insn decode 48 8b 05 10 00 00 00", "insn decode e8fbffffff --address 0x401000"
    )
)
def decode(
    code: Annotated[list[str], typer.Argument(metavar="HEX…", help="bytes, as hex digits")],
    address: Annotated[
        str, typer.Option("-a", "--address", metavar="A", help="where they stand: 0x401000")
    ] = "0",
    arch: Annotated[
        str, typer.Option("--arch", metavar="NAME", help=f"one of {', '.join(names())}")
    ] = "x86_64",
    as_json: Json = False,
) -> int:
    """Show each instruction of some bytes, and how a probe could execute it."""
    from insn.command.decoding import decode as show

    return show(code, _number(address), arch, as_json=as_json)


@app.command(
    epilog=_examples(
        "insn check /usr/bin/python3                       every function of the file",
        "insn check /lib/x86_64-linux-gnu/libc.so.6:'str*'  those that match",
        "insn check ./app:main+0x10                         any instruction",
    )
)
def check(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE[:SYMBOL]…", help="a file; NAME, GLOB, NAME+OFFSET or 0xADDRESS in it"
        ),
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="list every function, not only what is refused")
    ] = False,
    as_json: Json = False,
) -> int:
    """Tell whether functions can be probed, by which methods, and why not by others."""
    from insn.command.check import check as show

    return show(places, everything=everything, as_json=as_json)


@app.command(
    epilog=_examples(
        "insn scan /usr/bin/python3                  a summary",
        "insn scan /usr/bin/gzip --functions         and every function",
        "insn scan /usr/bin/gzip --npz gzip.npz      all instructions, for numpy",
    )
)
def scan(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="executables, libraries")],
    functions: Annotated[bool, typer.Option("--functions", help="list the functions, too")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print the functions as CSV")] = False,
    npz: Annotated[
        str | None, typer.Option("--npz", metavar="OUT", help="write all instructions to OUT")
    ] = None,
    as_json: Json = False,
) -> int:
    """Look at every instruction of a file: flows, methods, reasons."""
    from insn.command.scanning import scan as show

    return show(files, as_json=as_json, as_csv=as_csv, npz=npz, functions=functions)


def run() -> None:
    """Run the command line: exit code 0, 1 when something is refused, 2 when it cannot be done."""
    as_json = "--json" in sys.argv[1:]
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        if as_json:
            show_error(CommandError(error.format_message()), as_json=True)
        else:
            error.show()
        code = USAGE
    except (InsnError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            sys.stderr.close()  # nobody reads on: no further word about it
            raise SystemExit(1) from None
        show_error(error, as_json=as_json)
        code = USAGE
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    raise SystemExit(code if isinstance(code, int) else 0)
