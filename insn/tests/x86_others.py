"""Asks x86 decoders that others wrote: iced-x86, Zydis (by a program in C) and objdump."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import iced_x86
import numpy as np

from insn import Flow

ADDRESS = 0x1000
ICED_FLOWS = {
    iced_x86.FlowControl.NEXT: Flow.NEXT,
    iced_x86.FlowControl.UNCONDITIONAL_BRANCH: Flow.JUMP,
    iced_x86.FlowControl.CONDITIONAL_BRANCH: Flow.CONDITIONAL_JUMP,
    iced_x86.FlowControl.INDIRECT_BRANCH: Flow.INDIRECT_JUMP,
    iced_x86.FlowControl.CALL: Flow.CALL,
    iced_x86.FlowControl.INDIRECT_CALL: Flow.INDIRECT_CALL,
    iced_x86.FlowControl.RETURN: Flow.RETURN,
    iced_x86.FlowControl.INTERRUPT: Flow.TRAP,
    iced_x86.FlowControl.EXCEPTION: Flow.TRAP,
}
ZYDIS_FLOWS = (
    Flow.NEXT, Flow.JUMP, Flow.CONDITIONAL_JUMP, Flow.INDIRECT_JUMP, Flow.CALL, Flow.INDIRECT_CALL,
    Flow.RETURN, Flow.SYSTEM_CALL, Flow.TRAP, Flow.FAR,
)  # fmt: skip
ZYDIS_ANSWER = np.dtype(
    [
        ("length", "u1"),
        ("flow", "u1"),
        ("relative", "u1"),
        ("", "V5"),
        ("target", "<u8"),
        ("name", "S32"),
    ]
)
MACHINES = {64: "i386:x86-64", 32: "i386", 16: "i8086"}
OBJDUMP_LINE = re.compile(r"^\s*([0-9a-f]+):\t((?:[0-9a-f]{2} )+)\s*\t?(.*)$")


class Reading(NamedTuple):
    """What a decoder says of an instruction; `target`: of a branch or an operand, None if none."""

    length: int
    flow: Flow | None
    target: int | None
    name: str


def iced(code, mode, address=ADDRESS):
    """Let iced-x86 decode one instruction: a reading or None."""
    found = iced_x86.Decoder(mode, code, ip=address).decode()
    if found.is_invalid:
        return None
    target = None
    if found.is_ip_rel_memory_operand:
        target = found.ip_rel_memory_address
    elif found.op0_kind in _NEAR_BRANCHES:
        target = found.near_branch_target
    return Reading(found.len, ICED_FLOWS.get(found.flow_control), target, "")


_NEAR_BRANCHES = (
    iced_x86.OpKind.NEAR_BRANCH16,
    iced_x86.OpKind.NEAR_BRANCH32,
    iced_x86.OpKind.NEAR_BRANCH64,
)


class Zydis:
    """Zydis, built from `native/zydis_decode.c`."""

    def __init__(self, compiler, folder):
        self.program = folder / "zydis_decode"
        source = Path(__file__).parent / "native" / "zydis_decode.c"
        command = [compiler, "-O2", "-o", self.program, source, "-lZydis"]
        subprocess.run(command, check=True, capture_output=True)

    def readings(self, codes, mode):
        """Let it decode what each string of at most 15 bytes begins with, all at `ADDRESS`."""
        strings = b"".join(bytes([len(code)]) + code.ljust(15, b"\0") for code in codes)
        run = subprocess.run(
            [self.program, str(mode)], input=strings, stdout=subprocess.PIPE, check=True
        )
        answers = np.frombuffer(run.stdout, ZYDIS_ANSWER).tolist()
        mask = (1 << 64) - 1 if mode == 64 else 0xFFFFFFFF  # Zydis 4.0 extends the sign beyond
        return [
            Reading(length, ZYDIS_FLOWS[flow], target & mask if relative else None, name.decode())
            if length
            else None
            for length, flow, relative, _, target, name in answers
        ]


def objdump_readings(codes, mode, folder):
    """Let objdump list what each code is, by itself: the bytes of its first line, and the text."""
    slot = 32  # with no-operations behind each: objdump is in step again at the next
    path = folder / "slots"
    path.write_bytes(b"".join(code.ljust(slot, b"\x90") for code in codes))
    command = ["objdump", "-D", "-b", "binary", "-m", MACHINES[mode], "-w", "-z"]
    listing = subprocess.run(
        [*command, "--insn-width=15", path], capture_output=True, text=True, check=True
    ).stdout
    lines = {}
    for line in listing.splitlines():
        if found := OBJDUMP_LINE.match(line):
            lines[int(found[1], 16)] = (bytes.fromhex(found[2]), found[3].strip())
    return [lines.get(slot * number) for number in range(len(codes))]
