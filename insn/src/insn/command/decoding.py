"""`insn decode`: the instructions of some bytes, and how a probe could execute each."""

import json
import re

from insn.arch import Arch
from insn.arch import arch as arch_named
from insn.command.failure import CommandError
from insn.decode import decode as decode_one
from insn.judge import judge
from insn.model import Instruction, Method, Verdict


def decode(words: list[str], address: int, arch_name: str, *, as_json: bool) -> int:
    """Run it; errors as those of `insn.decode`, behind what could be decoded."""
    arch = arch_named(arch_name)
    code = parse_bytes(words)
    if not 0 <= address <= arch.address_mask:
        raise CommandError(
            f"{address:#x} is no address of {arch.name}",
            spec=f"{address:#x}",
            hint="give another --address",
        )
    verdicts: list[Verdict] = []
    try:
        position = 0
        while position < len(code):
            verdicts.append(_verdict(code[position:], address + position, arch))
            position += verdicts[-1].instruction.length
    except Exception:
        if not as_json:
            _show(verdicts)
        raise
    if as_json:
        print(json.dumps([as_record(verdict) for verdict in verdicts]))
    else:
        _show(verdicts)
    return 0


def _verdict(code: bytes, address: int, arch: Arch) -> Verdict:
    return judge(decode_one(code, address, arch))


def parse_bytes(words: list[str]) -> bytes:
    """Read bytes as people write them: `488b05`, `48 8b 05`, `0x48,0x8b`, `\\x48\\x8b`."""
    text = " ".join(words)
    digits = re.sub(r"\\x|0x|[\s,;:_]", "", text)
    try:
        code = bytes.fromhex(digits)
    except ValueError:
        wrong = next((c for c in digits if c not in "0123456789abcdefABCDEF"), None)
        why = "an odd number of digits" if wrong is None else f"{wrong!r} is no hex digit"
        raise CommandError(
            f"{text!r} are no bytes: {why}", spec=text, hint="write them like 48 8b 05 10 00 00 00"
        ) from None
    if not code:
        raise CommandError(
            "there are no bytes", spec=text, hint="write them like 48 8b 05 10 00 00 00"
        )
    return code


def methods_record(verdict: Verdict) -> dict[str, dict[str, str] | None]:
    """Give for each method null, or the reason against it."""
    return {
        method.value: None
        if (reason := verdict.why_not(method)) is None
        else {"code": reason.code, "why": reason.why}
        for method in Method
    }


def as_record(verdict: Verdict) -> dict[str, object]:
    """Return one instruction in the form that `--json` prints."""
    instruction = verdict.instruction
    relative = instruction.pc_relative
    return {
        "address": instruction.address,
        "code": instruction.code.hex(),
        "instruction": instruction.text,
        "flow": instruction.flow.value,
        "target": instruction.target,
        "pc_relative": None
        if relative is None
        else {
            "offset": relative.offset,
            "size": relative.size,
            "kind": relative.kind.value,
            "target": relative.target,
        },
        "reads": sorted(instruction.reads),
        "writes": sorted(instruction.writes),
        "flags_read": sorted(instruction.flags_read),
        "flags_written": sorted(instruction.flags_written),
        "methods": methods_record(verdict),
    }


def _show(verdicts: list[Verdict]) -> None:
    from rich.text import Text

    from insn.command.tables import console, methods_allowed, methods_refused, table_of

    out = console()
    if not verdicts:
        return
    table = table_of(
        "address", "bytes", "instruction", "flow", "methods", "why not", numbers=("address",)
    )
    for verdict in verdicts:
        instruction = verdict.instruction
        table.add_row(
            f"{instruction.address:#x}",
            instruction.code.hex(" "),
            Text(instruction.text),
            Text(_flow(instruction)),
            methods_allowed(verdict.refusals),
            methods_refused(verdict.refusals),
        )
    out.print(table)
    reasons = {r.code: r for verdict in verdicts for r in verdict.refusals.values()}
    if reasons:
        out.print()
    for code, reason in sorted(reasons.items()):
        hint = f" ({reason.hint})" if reason.hint else ""
        out.print(Text.assemble((code, "bold"), f": {reason.why}{hint}"))


def _flow(instruction: Instruction) -> str:
    relative = instruction.pc_relative
    if instruction.target is not None:
        return f"{instruction.flow.value} to {instruction.target:#x}"
    if relative is not None:
        return f"{instruction.flow.value}, {relative.kind.value} {relative.target:#x}"
    return instruction.flow.value
