"""What is this machine instruction, may it be probed, and how can it run somewhere else."""

from insn.arch import Arch, arch
from insn.decode import decode
from insn.emulate import emulate, emulator, only_moves_ip
from insn.errors import (
    DecodersDisagree,
    InsnError,
    MalformedFile,
    NotEmulable,
    NotRelocatable,
    OutOfReach,
    Truncated,
    Undecodable,
    UnknownArchitecture,
)
from insn.judge import judge
from insn.model import (
    Fixups,
    Flow,
    Instruction,
    Memory,
    Method,
    PcRelative,
    PcRelativeKind,
    Reason,
    Registers,
    Relocated,
    Verdict,
)
from insn.reasons import REASONS
from insn.relocate import relocate
from insn.second import second_decoder
from insn.x86 import X86_16, X86_32, X86_64

__all__ = [
    "REASONS",
    "X86_16",
    "X86_32",
    "X86_64",
    "Arch",
    "DecodersDisagree",
    "Fixups",
    "Flow",
    "InsnError",
    "Instruction",
    "MalformedFile",
    "Memory",
    "Method",
    "NotEmulable",
    "NotRelocatable",
    "OutOfReach",
    "PcRelative",
    "PcRelativeKind",
    "Reason",
    "Registers",
    "Relocated",
    "Truncated",
    "Undecodable",
    "UnknownArchitecture",
    "Verdict",
    "arch",
    "decode",
    "emulate",
    "emulator",
    "judge",
    "only_moves_ip",
    "relocate",
    "second_decoder",
]
