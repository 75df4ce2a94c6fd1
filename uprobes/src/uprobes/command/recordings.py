"""`uprobes list PID`: what a process records by itself."""

import json
from dataclasses import asdict, dataclass

from uprobes.command.options import Options, report_file
from uprobes.printable import printable
from uprobes.recording.recording import Recording
from uprobes.recording.reopen import open_recordings

EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One recording, as it stands now."""

    places: list[str]
    fields: list[str]
    measures: list[str]
    where: str | None
    returns: bool
    mode: str
    hits: int
    records: int
    lost: int


def list_recordings(options: Options, pid: int) -> int:
    """Run it; return 0."""
    rows = [_row(recording) for recording in open_recordings(pid)]
    with report_file(options) as file:
        if options.json:
            document = {"pid": pid, "recordings": [asdict(row) for row in rows]}
            print(json.dumps(document), file=file)
            return 0
        from uprobes.command.tables import console, table_of

        right = ("", "hits", "records", "lost")
        table = table_of(*right, "fields", "where", "places", right=right)
        for number, row in enumerate(rows, 1):
            rest = len(row.places) - EXAMPLES
            more = f" and {rest:,} more" if rest > 0 else ""
            table.add_row(
                str(number),
                f"{row.hits:,}",
                f"{row.records:,}",
                f"{row.lost:,}",
                printable(",".join(row.fields + row.measures)) or "-",
                printable(row.where or "-"),
                ", ".join(row.places[:EXAMPLES]) + more,
            )
        console(file).print(table)
    return 0


def _row(recording: Recording) -> Row:
    plan = recording.plan
    return Row(
        [place.label for place in recording.places],
        list(plan.fields),
        list(plan.measures),
        plan.where,
        plan.returns,
        "overwrite" if plan.overwrite else "drop",
        int(recording.hits.sum()),
        len(recording.read()),
        recording.lost,
    )
