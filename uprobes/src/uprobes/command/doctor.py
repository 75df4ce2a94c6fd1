"""`uprobes doctor`: may I trace this, what stops me, and what to do about it."""

import json
from collections.abc import Iterable
from typing import IO

from uprobes.command.findings import GENERAL, OF_PROCESS, Finding, Level
from uprobes.command.options import Options, report_file, usage

_STYLES = {Level.OK: "green", Level.NOTE: "yellow", Level.PROBLEM: "red"}


def findings(pid: int | None) -> list[Finding]:
    """Look at everything; raises NoSuchProcess where there is nothing to look at."""
    found = [finding for look in GENERAL for finding in look()]
    if pid is None:
        return found
    # With capabilities, or a process of our own child, Yama's limit need not matter: the kernel's
    # own answer for this process counts more than ours in general.
    asked = [finding for look in OF_PROCESS for finding in look(pid)]
    if any(f.topic == "permission" and f.level is Level.OK for f in asked):
        found = [f if f.topic != "yama" else _defused(f) for f in found]
    return found + asked


def _defused(finding: Finding) -> Finding:
    if finding.level is not Level.PROBLEM:
        return finding
    return Finding(finding.topic, Level.NOTE, finding.found, "it does not apply to this process")


def doctor(options: Options) -> int:
    """Run it; return 1 when something stands in the way, else 0."""
    if options.command is not None:
        raise usage("doctor looks at a running process, or at none", "use -p PID")
    found = findings(options.pid)
    problems = [finding for finding in found if finding.level is Level.PROBLEM]
    with report_file(options) as file:
        if options.json:
            document = {
                "pid": options.pid,
                "may_trace": not problems,
                "findings": [finding.as_record() for finding in found],
            }
            print(json.dumps(document), file=file)
        else:
            _show(found, bool(problems), options, file)
    return 1 if problems else 0


def _show(found: Iterable[Finding], bad: bool, options: Options, file: IO[str]) -> None:
    from rich.text import Text

    from uprobes.command.tables import console, table_of

    out = console(file)
    table = table_of("", "what", "found")
    for finding in found:
        text = Text(finding.found)
        if finding.advice:
            text.append(f"\n→ {finding.advice}", style="dim")
        table.add_row(Text(str(finding.level), _STYLES[finding.level]), finding.topic, text)
    out.print(table)
    subject = f"process {options.pid}" if options.pid is not None else "processes"
    verdict = f"{subject} can't be traced as things are" if bad else f"{subject} can be traced"
    out.print(Text(verdict, "bold red" if bad else "bold green"))
