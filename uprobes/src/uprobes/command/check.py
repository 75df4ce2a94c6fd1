"""`uprobes check`: may these places be probed, and how? Nothing is attached, nothing is written."""

import json
from collections import Counter
from typing import IO

import insn
from insn import Method, Verdict
from uprobes import ForeignBreakpoint, Location, ProbeError
from uprobes.command.document import function_of, label
from uprobes.command.listing import resolve
from uprobes.command.options import Options, report_file, usage
from uprobes.machine import machine_of_host
from uprobes.names import Resolver
from uprobes.names.objects import Space

Answer = tuple[Location, Verdict | ProbeError]


def check(options: Options) -> int:
    """Run it; return 1 when something may not be probed, else 0."""
    if options.command is not None:
        raise usage("check looks at files and running processes", "give FILE:FUNCTION, or -p PID")
    if not options.specs:
        raise usage("nothing is named", "for example: uprobes check libc:malloc -p PID")
    resolver = Resolver()
    answers: list[Answer] = []
    with report_file(options) as file:
        for spec in options.specs:
            found = resolve(spec, options.pid, resolver)
            answers += [(_unplaced(error), error) for error in found.refused]
            answers += judge(found.locations, options.pid, resolver)
        if options.json:
            print(json.dumps([as_record(*answer) for answer in answers]), file=file)
        else:
            _show(answers, options, file)
    return 0 if all(_probeable(answer) for _, answer in answers) else 1


def judge(locations: tuple[Location, ...], pid: int | None, resolver: Resolver) -> list[Answer]:
    """Judge the instruction at each location: of the file, or of a process's memory."""
    arch = machine_of_host().arch
    space = Space(pid) if pid is not None else None
    answers: list[Answer] = []
    for location in locations:
        try:
            code = resolver.code_at(location, arch.max_length)
            if space is not None:
                there = space.read(location.address, arch.max_length)
                code = _unpatched(location, code, there, arch.breakpoint)
            answers.append((location, insn.judge(insn.decode(code, location.address, arch))))
        except ProbeError as error:
            answers.append((location, error))
        except insn.InsnError as error:
            why = ProbeError(
                error.why,
                spec=location.spec,
                address=location.address,
                code=str(error.code),
                hint=error.hint,
            )
            answers.append((location, why))
    return answers


def _unpatched(location: Location, code: bytes, there: bytes, breakpoint_: bytes) -> bytes:
    """Prefer what stands in memory, unless that is a breakpoint that the file doesn't have."""
    if not code or not there:
        return there or code
    size = len(breakpoint_)
    if there[:size] == breakpoint_ and code[:size] != breakpoint_:
        raise ForeignBreakpoint(
            "a breakpoint stands there already, of a debugger or of a tracer that died",
            spec=location.spec,
            address=location.address,
            hint="end that debugger, or restart the process",
        )
    return there


def _unplaced(error: ProbeError) -> Location:
    return Location(error.address or 0, error.spec or "")


def _probeable(answer: Verdict | ProbeError) -> bool:
    return isinstance(answer, Verdict) and answer.probeable


def as_record(location: Location, answer: Verdict | ProbeError) -> dict[str, object]:
    """Return one answer in the form that `insn check --json` prints."""
    methods: dict[str, object] = {}
    for method in Method:
        reason = None
        if isinstance(answer, ProbeError):
            reason = {"code": answer.code, "why": answer.why}
        elif (refusal := answer.why_not(method)) is not None:
            reason = {"code": refusal.code, "why": refusal.why}
        methods[str(method)] = reason
    text = answer.instruction.text if isinstance(answer, Verdict) else None
    return {
        "object": location.object or None,
        "function": function_of(location),
        "address": location.address,
        "instruction": text,
        "methods": methods,
    }


def _show(answers: list[Answer], options: Options, file: IO[str]) -> None:
    from rich.text import Text

    from uprobes.command.tables import console, show_refused, table_of

    out = console(file)
    refused = [answer for answer in answers if not _probeable(answer[1])]
    shown = answers if options.top == 0 or len(answers) <= options.top else refused[: options.top]
    table = table_of("place", "instruction", "methods", "why not")
    for location, answer in shown:
        if isinstance(answer, ProbeError):
            table.add_row(Text(label(location)), "", Text("none", "red"), Text(answer.why))
            continue
        yes = " ".join(m for m in Method if answer.allows(m))
        codes = Counter(reason.code for reason in answer.refusals.values())
        why = ", ".join(
            f"{' '.join(m for m, r in answer.refusals.items() if r.code == code)}: {code}"
            for code in codes
        )
        style = "" if answer.probeable else "red"
        table.add_row(
            Text(label(location)),
            Text(answer.instruction.text),
            Text(yes or "none", style),
            Text(why),
        )
    if shown:
        out.print(table)
    if len(shown) < len(answers):
        out.print(f"{len(answers) - len(refused):,} of {len(answers):,} places may be probed")
        counts = Counter(
            m for _, v in answers if isinstance(v, Verdict) for m in Method if v.allows(m)
        )
        out.print(", ".join(f"{m}: {counts[m]:,}" for m in Method))
    for _, answer in answers:
        if isinstance(answer, Verdict) and not answer.probeable and len(answers) == 1:
            reason = answer.why_not(Method.STEP)
            if reason is not None:
                out.print(Text(f"{reason.why}; {reason.hint}" if reason.hint else reason.why))
    errors = [answer for _, answer in answers if isinstance(answer, ProbeError)]
    if errors:
        show_refused(errors, out)
