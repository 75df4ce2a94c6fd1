"""What x86 instructions read, write and do to the stack, against iced-x86 and by hand."""

from random import Random

import iced_x86
import pytest
from iced_x86 import OpAccess, Register, RegisterExt, RflagsBits
from x86_samples import samples

import insn
from insn.x86_detail import Encoding

NAMES = {value: name for name, value in vars(Register).items() if isinstance(value, int)}
FLAGS = {
    "of": RflagsBits.OF, "sf": RflagsBits.SF, "zf": RflagsBits.ZF, "af": RflagsBits.AF,
    "pf": RflagsBits.PF, "cf": RflagsBits.CF, "df": RflagsBits.DF,
}  # fmt: skip
READS = {OpAccess.READ, OpAccess.COND_READ, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE}
WRITES = {
    OpAccess.WRITE,
    OpAccess.COND_WRITE,
    OpAccess.READ_WRITE,
    OpAccess.READ_COND_WRITE,
}
MAYBE = {OpAccess.COND_WRITE, OpAccess.READ_COND_WRITE}

# Where the rows say that more is read or written than iced does, and why that is right or harmless.
MORE = {
    "sub sbb xor pxor psub vpsub vpxor vxor xorps xorpd": "one register twice: iced knows the sum",
    "leave": "counted as moving the stack pointer",
    "prefetch": "reserved hints keep their address registers",
    "rdssp": "does nothing where there are no shadow stacks",
    "xabort": "does nothing outside a transaction",
    "ud0 ud1": "the operands of what always faults",
    "vpblendm vblendm": "the mask chooses instead of merging: nothing of the destination survives",
    "montmul xsha ccs_ via_ xstore xcrypt": "VIA PadLock, by its largest member",
    "vgatherpf vscatterpf": "the mask is not written by the prefetching forms",
    "rol ror rcl rcr shl shr sal sar shld shrd": "a count of 0 writes no flag",
    "pushf popf iret": "AC is beyond 16 bits",
    "cmps scas ins outs": "a repeat count of 0 writes no flag",
}
# Where the rows say less than iced does, and why.
LESS = {
    "enclv enclu enclave": "refused; what they do depends on their leaf",
    "syscall sysenter": "the kernel keeps the flags, and what it does to registers is its own",
    "frstor fnsave fxsave fxrstor": "x87 stands for the MMX registers, too",
    "vp4dpwssd v4fmadd v4fnmadd": "Knights Mill only: four registers from the one named",
}


def excused(name, table):
    return any(name.startswith(tuple(names.split())) for names in table)


def full(register, mode, merges):
    """Name a register of iced at full width, and tell whether a write to it keeps part of it."""
    name = NAMES[register]
    if name[:3] in ("XMM", "YMM", "ZMM"):
        return "zmm" + name[3:], merges
    if name.startswith("ST"):
        return "x87", False
    whole = RegisterExt.full_register if mode == 64 else RegisterExt.full_register32
    partial = RegisterExt.is_gpr8(register) or RegisterExt.is_gpr16(register)
    return NAMES[whole(register)].lower(), partial


def interesting(names):
    """Leave out x87 and everything that selects segments."""
    special = {"x87", "es", "cs", "ss", "ds", "fs", "gs", "fs_base", "gs_base", "rip", "eip"}
    return {name for name in names if name not in special and not name.startswith(("cr", "dr"))}


def by_iced(instruction, factory):
    theirs = iced_x86.Decoder(instruction.detail.mode, instruction.code).decode()
    if theirs.is_invalid:
        return None
    merges = instruction.detail.encoding is Encoding.LEGACY
    reads, writes = set(), set()
    for used in factory.info(theirs).used_registers():
        name, partial = full(used.register, instruction.detail.mode, merges)
        if used.access in WRITES:
            writes.add(name)
        if used.access in READS or used.access in MAYBE or (partial and used.access in WRITES):
            reads.add(name)
    flags_read = {name for name, bit in FLAGS.items() if theirs.rflags_read & bit}
    flags_written = {name for name, bit in FLAGS.items() if theirs.rflags_modified & bit}
    return interesting(reads), interesting(writes), flags_read, flags_written


@pytest.mark.parametrize("mode", [64, 32, 16])
def test_registers_and_flags_are_those_that_iced_names(mode):
    factory = iced_x86.InstructionInfoFactory()
    compared = 0
    for instruction in samples(Random(3), 2, modes=(mode,)):
        detail = instruction.detail
        refused = detail.row.refusal in ("privileged", "port-io", "far-transfer")
        if detail.apx or refused or (found := by_iced(instruction, factory)) is None:
            continue
        reads, writes, flags_read, flags_written = found
        ours = interesting(instruction.reads), interesting(instruction.writes)
        our_flags_read = instruction.flags_read & FLAGS.keys()
        our_flags_written = instruction.flags_written & FLAGS.keys()
        compared += 1
        if not excused(instruction.name, LESS):
            assert reads <= ours[0], instruction
            assert writes <= ours[1], instruction
            assert flags_read <= our_flags_read, instruction
            assert flags_written <= our_flags_written, instruction
        if not excused(instruction.name, MORE) and not excused(instruction.name, LESS):
            assert ours[0] <= reads, instruction
            assert ours[1] <= writes, instruction
            assert our_flags_written <= flags_written, instruction
            # What may survive counts as read.
            assert our_flags_read <= flags_read | flags_written, instruction
    assert compared > 4_000


@pytest.mark.parametrize(
    ("arch", "code", "stack"),
    [
        ("x86_64", "55", -8),
        ("x86_64", "6655", -2),
        ("x86_64", "6a10", -8),
        ("x86_64", "5d", 8),
        ("x86_64", "5c", None),
        ("x86_64", "8f442408", 8),
        ("x86_64", "c3", 8),
        ("x86_64", "c21000", 24),
        ("x86_64", "e800000000", -8),
        ("x86_64", "ffd0", -8),
        ("x86_64", "9c", -8),
        ("x86_64", "4883ec18", -24),
        ("x86_64", "4883c4e8", -24),
        ("x86_64", "4881ec00010000", -256),
        ("x86_64", "83ec18", None),
        ("x86_64", "4883e4f0", None),
        ("x86_64", "488d642480", -128),
        ("x86_64", "488d6500", None),
        ("x86_64", "4889ec", None),
        ("x86_64", "c9", None),
        ("x86_64", "4889e5", 0),
        ("x86_64", "90", 0),
        ("x86_64", "0f05", None),
        ("x86_32", "60", -32),
        ("x86_32", "6661", 16),
        ("x86_32", "83ec18", -24),
        ("x86_32", "c20800", 12),
        ("x86_16", "55", -2),
    ],
)
def test_the_stack_moves_by(arch, code, stack):
    instruction = insn.decode(bytes.fromhex(code), 0x1000, insn.arch(arch))
    assert insn.effects(instruction).stack == stack


def test_the_stack_moves_as_iced_says():
    for instruction in samples(Random(4), 1, modes=(64, 32)):
        stack = insn.effects(instruction).stack
        theirs = iced_x86.Decoder(instruction.detail.mode, instruction.code).decode()
        known = instruction.detail.row.refusal or instruction.detail.apx or theirs.is_invalid
        if stack is not None and theirs.is_stack_instruction and not known:
            assert stack == theirs.stack_pointer_increment, instruction


@pytest.mark.parametrize(
    ("code", "memory", "may_fault", "privileged", "nothing"),
    [
        ("4889e5", False, False, False, False),
        ("488b07", True, True, False, False),
        ("488d07", False, False, False, False),
        ("0f1f00", False, False, False, True),
        ("0f1807", False, False, False, True),
        ("f7f1", False, True, False, False),
        ("55", True, True, False, False),
        ("f4", False, True, True, False),
        ("ec", False, True, True, False),
        ("f3a4", True, True, False, False),
        ("d7", True, True, False, False),
        ("660ff7c1", True, True, False, False),
        ("0f58c1", False, True, False, False),
    ],
)
def test_memory_faults_and_privilege_are_told(code, memory, may_fault, privileged, nothing):
    found = insn.effects(insn.decode(bytes.fromhex(code), 0x1000))
    assert (found.memory, found.may_fault, found.privileged, found.nothing) == (
        memory, may_fault, privileged, nothing,
    )  # fmt: skip
