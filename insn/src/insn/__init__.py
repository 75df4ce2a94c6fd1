"""What is this machine instruction, may it be probed, and how can it run somewhere else."""

import importlib

from insn.arch import Arch, arch
from insn.decode import decode, effects
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
from insn.liveness import Dead, dead_before
from insn.model import (
    Effects,
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from insn.boundary import Boundary, boundaries
    from insn.bulk import scan
    from insn.bulk_liveness import Liveness
    from insn.corpus import scan_file, scan_files
    from insn.elf import Image, open_image
    from insn.targets import CodeMap
    from insn.window import JumpForm, PatchWindow, Windows, patch_window

# These need numpy, which takes longer to import than all the rest: they are loaded when first used.
_ON_DEMAND = {
    "Boundary": "insn.boundary",
    "CodeMap": "insn.targets",
    "Image": "insn.elf",
    "JumpForm": "insn.window",
    "Liveness": "insn.bulk_liveness",
    "PatchWindow": "insn.window",
    "Windows": "insn.window",
    "boundaries": "insn.boundary",
    "open_image": "insn.elf",
    "patch_window": "insn.window",
    "scan": "insn.bulk",
    "scan_file": "insn.corpus",
    "scan_files": "insn.corpus",
}


def __getattr__(name: str) -> object:
    if name not in _ON_DEMAND:
        raise AttributeError(f"module 'insn' has no attribute {name!r}")
    found = getattr(importlib.import_module(_ON_DEMAND[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "REASONS",
    "X86_16",
    "X86_32",
    "X86_64",
    "Arch",
    "Boundary",
    "CodeMap",
    "Dead",
    "DecodersDisagree",
    "Effects",
    "Fixups",
    "Flow",
    "Image",
    "InsnError",
    "Instruction",
    "JumpForm",
    "Liveness",
    "MalformedFile",
    "Memory",
    "Method",
    "NotEmulable",
    "NotRelocatable",
    "OutOfReach",
    "PatchWindow",
    "PcRelative",
    "PcRelativeKind",
    "Reason",
    "Registers",
    "Relocated",
    "Truncated",
    "Undecodable",
    "UnknownArchitecture",
    "Verdict",
    "Windows",
    "arch",
    "boundaries",
    "dead_before",
    "decode",
    "effects",
    "emulate",
    "emulator",
    "judge",
    "only_moves_ip",
    "open_image",
    "patch_window",
    "relocate",
    "scan",
    "scan_file",
    "scan_files",
    "second_decoder",
]
