"""What the kernel's own uprobes accept and refuse, against our verdicts; each difference has its
reason.

A perf event on a file of instructions makes the kernel judge them, as it would for perf or
bpftrace. Taking an accepted one off again takes 90 ms (the kernel waits for every CPU), so that
the quick part asks about few, and the torture takes ten minutes. `SEED` and `ROUNDS` in the
environment choose others, and more of them.
"""

import ctypes
import errno
import mmap
import os
import struct
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

import insn
from insn import Method
from insn.x86_detail import Encoding
from insn.x86_table import ROWS

sys.path.insert(0, str(Path(__file__).parents[1] / "insn" / "tests"))
from x86_samples import sample

UPROBE_PMU = Path("/sys/bus/event_source/devices/uprobe/type")
REFUSED = {524, errno.ENOEXEC}  # ENOTSUPP, undecodable
STRIDE = 16
SEED = int(os.environ.get("SEED", "1"))
ROUNDS = int(os.environ.get("ROUNDS", "1"))

# Prefixes that the kernel refuses before anything, though none of them is dangerous to step.
NEEDLESS_PREFIXES = {0x26, 0x2E, 0x36, 0x3E, 0xF0}
# One-byte opcodes that the kernel refuses: it also looks up the opcode byte of VEX and EVEX
# instructions here.
ONE_BYTE_REFUSED = set(
    bytes.fromhex(
        "06070e16171e1f272f373f6061626c6d6e6f829acccdcecfd4d5d6e4e5e6e7eaecedeeeff1f4fafb"
    )
)


class Oracle:
    """Asks the kernel about instructions in a file that this process has mapped."""

    def __init__(self, path, codes):
        self.path = path
        content = b"".join(code.ljust(STRIDE, b"\x90") for code in codes)
        path.write_bytes(content + bytes(mmap.PAGESIZE))
        with path.open("rb") as file:
            executable = mmap.PROT_READ | mmap.PROT_EXEC
            self.memory = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, executable)
        self.touched = self.memory[0]
        self.system = ctypes.CDLL(None, use_errno=True)
        self.type = int(UPROBE_PMU.read_text())

    def accepts(self, number):
        """Register a uprobe on an instruction, and remove it."""
        name = ctypes.create_string_buffer(os.fsencode(self.path))
        attributes = bytearray(128)
        struct.pack_into("<II", attributes, 0, self.type, len(attributes))
        struct.pack_into("<QQ", attributes, 56, ctypes.addressof(name), number * STRIDE)
        raw = (ctypes.c_char * len(attributes)).from_buffer(attributes)
        perf_event_open, cloexec = 298, 8
        event = self.system.syscall(perf_event_open, raw, 0, -1, -1, cloexec)
        if event >= 0:
            os.close(event)
            return True
        error = ctypes.get_errno()
        assert error in REFUSED, os.strerror(error)
        return False


def difference(instruction, *, kernel):
    """Name the reason why the kernel and our verdict differ, or None when there is none."""
    detail = instruction.detail
    prefixes = set(instruction.code[: detail.opcode_offset])
    if kernel:
        if detail.row.refusal == "far-transfer":
            return "the kernel steps far transfers and repairs one machine word (R6)"
        if detail.apx:
            return "the kernel does not ask whether an instruction is APX"
        if detail.row.space > 0:
            return "the kernel's refusals of the 0f map are unreachable (R1)"
        if detail.unsettled:
            return "the kernel only refuses 66 before a relative branch that it emulates"
        return None
    if prefixes & NEEDLESS_PREFIXES and detail.encoding is Encoding.LEGACY:
        return "the kernel refuses harmless prefixes (X30)"
    if detail.encoding is not Encoding.LEGACY and detail.opcode in ONE_BYTE_REFUSED:
        return "the kernel looks up VEX and EVEX opcodes in the one-byte table (R2)"
    if detail.row.refusal == "masks-trap":
        return "boosting solves it"
    if detail.row.refusal == "system-call-interrupt":
        return "int 0x80 is stepped as a system call"
    if instruction.name in ("extrq", "insertq"):
        return "the kernel's decoder does not know SSE4a"
    if detail.encoding in (Encoding.XOP, Encoding.EVEX, Encoding.VEX):
        return "the kernel's decoder does not know the opcode map"
    return None


def disagreements(tmp_path, instructions):
    """Ask about all; list those where the kernel and the verdict differ for no known reason."""
    oracle = Oracle(tmp_path / "instructions", [instruction.code for instruction in instructions])
    unexplained = []
    agreed = 0
    reasons = Counter()
    for number, instruction in enumerate(instructions):
        kernel = oracle.accepts(number)
        ours = insn.judge(instruction).probeable
        if kernel == ours:
            agreed += 1
            continue
        reason = difference(instruction, kernel=kernel)
        if reason is None:
            unexplained.append(
                (instruction.code.hex(), instruction.text, f"kernel accepts: {kernel}")
            )
        reasons[f"kernel {'accepts' if kernel else 'refuses'}: {reason}"] += 1
    print(f"seed {SEED}: {len(instructions)} instructions, {agreed} agreed")
    for reason, count in reasons.most_common():
        print(f"  {count:5} {reason}")
    return agreed, unexplained


@pytest.fixture(autouse=True)
def kernel_uprobes():
    if not UPROBE_PMU.exists() or os.geteuid() != 0:
        pytest.skip("this kernel offers its uprobes to root only, or not at all")


FEW = """
90 55 4889e5 c3 eb10 7410 e800000000 ffd0 ff2510000000 488b0510000000 9c f3a4
c5fb100510000000 62f17c4858c1 cc cd80 cd03 f1 f4 fa e410 ec 6c 8ed0 3effe0 2e90 f00fb10e
66e910000000 c5f9efc0 c5f9eec0 0f05 0f0b 0f30 0f01d7 cb cf ff18
"""


def test_the_kernel_shares_our_verdicts_or_the_difference_is_known(tmp_path):
    instructions = [insn.decode(bytes.fromhex(code), 0x1000) for code in FEW.split()]
    agreed, unexplained = disagreements(tmp_path, instructions)
    assert unexplained == []
    assert agreed > 20


@pytest.mark.torture
def test_the_kernel_shares_our_verdict_on_every_row_or_the_difference_is_known(tmp_path):
    random = Random(SEED)
    forms = {}
    for row in ROWS:
        for _ in range(3 * ROUNDS):
            try:
                instruction = insn.X86_64.decode(sample(row, random, 64), 0x1000)
            except insn.InsnError:
                continue
            detail = instruction.detail
            form = (
                detail.row.number, detail.operand_size, detail.address_size, detail.segment,
                detail.lock, detail.repeat, detail.has_memory, detail.pc_relative,
            )  # fmt: skip
            forms.setdefault(form, instruction)
    instructions = list(forms.values())
    agreed, unexplained = disagreements(tmp_path, instructions)
    assert unexplained == []
    assert agreed > len(instructions) // 2
    assert len(instructions) > 1.5 * len(ROWS)


def test_the_reasons_for_differences_do_not_explain_everything():
    plain = insn.decode(b"\x90", 0x1000)
    assert difference(plain, kernel=False) is None
    privileged = insn.decode(b"\xf4", 0x1000)
    assert difference(privileged, kernel=True) is None
    assert insn.judge(plain).allows(Method.EMULATE)
