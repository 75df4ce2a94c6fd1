"""`uprobes export`: a recording for other programs."""

import sys
from pathlib import Path

from uprobes.command.options import usage
from uprobes.command.source import open_source
from uprobes.recording.export import EXPORTS
from uprobes.recording.recorded import Recorded
from uprobes.recording.store import save

ENDINGS = {".csv": "csv", ".jsonl": "json", ".npz": "npz", ".json": "chrome"}
"""What the name of a file says about its format; .json is what trace viewers look for."""


def export(source: str, form: str | None, output: str | None, *, take: bool) -> int:
    """Run it; return 0."""
    if form is None:
        form = ENDINGS.get(Path(output).suffix) if output is not None else "csv"
        if form is None:
            raise usage(
                f"the name {output} does not say which format is wanted",
                "--csv, --json, --chrome or --npz",
            )
    if form == "npz" and output is None:
        raise usage("an .npz file is not for a terminal", "name a file: -o FILE.npz")
    found = open_source(source, keep=not take)
    if len(found) != 1:
        raise usage(
            f"process {source} has {len(found)} recordings", f"say which: {source}:1, {source}:2, …"
        )
    try:
        _write(found[0], form, output)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise usage(
            f"{output or 'the output'} can't be written: {error.strerror}",
            "choose another file for -o",
        ) from None
    return 0


def _write(recorded: Recorded, form: str, output: str | None) -> None:
    if form == "npz":
        assert output is not None
        save(recorded, output)
    elif output is None:
        EXPORTS[form](recorded, sys.stdout)
    else:
        with open(output, "w", encoding="utf-8", newline="") as file:
            EXPORTS[form](recorded, file)
