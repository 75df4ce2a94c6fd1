"""The second decoder, capstone: compares its reading with the rows, and writes instructions as
text.

capstone is imported when first needed; on a host without it the rows decide alone and
`second_decoder()` says so.
"""

import importlib
from typing import TYPE_CHECKING, Any

from insn.errors import DecodersDisagree
from insn.model import Flow
from insn.second_known import KNOWN_FLOWS, known_difference
from insn.x86_detail import Detail

if TYPE_CHECKING:
    from insn.model import Instruction

_MODES = {"x86_64": "CS_MODE_64", "x86_32": "CS_MODE_32", "x86_16": "CS_MODE_16"}
_engines: dict[str, Any] = {}
_module: Any = None
_tried = False


def _capstone() -> Any:  # noqa: ANN401 - capstone has no types
    global _module, _tried
    if not _tried:
        _tried = True
        try:
            _module = importlib.import_module("capstone")
        except ImportError:
            _module = None
    return _module


def available() -> bool:
    """Tell whether there is a second decoder on this host."""
    return _capstone() is not None


def second_decoder() -> str | None:
    """Name the second decoder and its version, or None when the rows decide alone."""
    module = _capstone()
    return None if module is None else f"capstone {module.__version__}"


def _engine(arch: str) -> Any:  # noqa: ANN401 - capstone has no types
    engine = _engines.get(arch)
    if engine is None:
        module = _capstone()
        if module is None or arch not in _MODES:
            return None
        engine = _engines[arch] = module.Cs(module.CS_ARCH_X86, getattr(module, _MODES[arch]))
    return engine


def text(instruction: "Instruction") -> str:
    """Write the instruction as assembler text; the row's name alone where capstone is missing or
    at a loss."""
    engine = _engine(instruction.arch.name)
    if engine is not None:
        for _, size, name, operands in engine.disasm_lite(instruction.code, instruction.address, 1):
            if size == instruction.length:
                return f"{name} {operands}".rstrip()
    return instruction.name


# What capstone's names say about the flow; all others go on to the next instruction. A direct
# branch has a number as its operand, an indirect one does not.
_BRANCHES = {
    "jmp": (Flow.JUMP, Flow.INDIRECT_JUMP),
    "call": (Flow.CALL, Flow.INDIRECT_CALL),
    "notrack jmp": (Flow.JUMP, Flow.INDIRECT_JUMP),
    "notrack call": (Flow.CALL, Flow.INDIRECT_CALL),
}
_NAMES = {
    "ret": Flow.RETURN,
    "syscall": Flow.SYSTEM_CALL,
    "sysenter": Flow.SYSTEM_CALL,
    "int3": Flow.TRAP,
    "int1": Flow.TRAP,
    "into": Flow.TRAP,
    "ud0": Flow.TRAP,
    "ud1": Flow.TRAP,
    "ud2": Flow.TRAP,
    "xbegin": Flow.CONDITIONAL_JUMP,
    "loop": Flow.CONDITIONAL_JUMP,
    "loope": Flow.CONDITIONAL_JUMP,
    "loopne": Flow.CONDITIONAL_JUMP,
    "lcall": Flow.FAR,
    "ljmp": Flow.FAR,
    "retf": Flow.FAR,
    "retfq": Flow.FAR,
    "iret": Flow.FAR,
    "iretd": Flow.FAR,
    "iretq": Flow.FAR,
    "rsm": Flow.FAR,
    "sysret": Flow.FAR,
    "sysretq": Flow.FAR,
    "sysexit": Flow.FAR,
    "sysexitq": Flow.FAR,
}
_REPEATS = ("rep ", "repe ", "repne ", "bnd ", "repz ", "repnz ", "lock ", "xacquire ", "xrelease ")


def _flow(name: str, operands: str) -> Flow:
    for prefix in _REPEATS:
        name = name.removeprefix(prefix)
    direct = operands[:1].isdigit() or operands[:1] == "-"
    if name in _BRANCHES:
        if ":" in operands and "[" not in operands:
            return Flow.FAR
        return _BRANCHES[name][0 if direct else 1]
    if name == "int":
        return Flow.SYSTEM_CALL if operands == "0x80" else Flow.TRAP
    if name[0] == "j":
        return Flow.CONDITIONAL_JUMP
    return _NAMES.get(name, Flow.NEXT)


def compare(instruction: "Instruction") -> None:
    """Raise DecodersDisagree when capstone reads another length or flow, examined differences
    apart."""
    engine = _engine(instruction.arch.name)
    if engine is None:
        return
    read = next(engine.disasm_lite(instruction.code, instruction.address, 1), None)
    length = instruction.length
    if read is not None and read[1] == length:
        flow = _flow(read[2], read[3])
        if flow is instruction.flow or (instruction.flow, flow) in KNOWN_FLOWS:
            return
        says = flow.value
    else:
        says = "nothing" if read is None else f"{read[1]} bytes"
        detail = instruction.detail
        assert isinstance(detail, Detail)
        prefixes = instruction.code[: detail.opcode_offset]
        if known_difference(detail, prefixes, silent=read is None) is not None:
            return
    raise DecodersDisagree(
        f"the rows read {instruction.name}, {length} bytes, {instruction.flow.value}; "
        f"capstone reads {says} in {instruction.code.hex(' ')}",
        address=instruction.address,
        hint="decode with check=False to go by the rows alone",
    )
