"""The second decoder, capstone: compares its reading with the rows, and writes instructions as text.

capstone is imported when first needed; on a host without it the rows decide alone and `second_decoder()` says so.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from insn.model import Instruction

_MODES = {"x86_64": "CS_MODE_64", "x86_32": "CS_MODE_32", "x86_16": "CS_MODE_16"}
_engines: dict[str, Any] = {}
_module: Any = None
_tried = False


def _capstone() -> Any:
    global _module, _tried
    if not _tried:
        _tried = True
        try:
            _module = importlib.import_module("capstone")
        except ImportError:
            _module = None
    return _module


def second_decoder() -> str | None:
    """Name the second decoder and its version, or None when the rows decide alone."""
    module = _capstone()
    return None if module is None else f"capstone {module.__version__}"


def _engine(arch: str) -> Any:
    engine = _engines.get(arch)
    if engine is None:
        module = _capstone()
        if module is None or arch not in _MODES:
            return None
        engine = _engines[arch] = module.Cs(module.CS_ARCH_X86, getattr(module, _MODES[arch]))
    return engine


def text(instruction: "Instruction") -> str:
    """Write the instruction as assembler text; the row's name alone where capstone is missing or at a loss."""
    engine = _engine(instruction.arch.name)
    if engine is not None:
        for _, size, name, operands in engine.disasm_lite(instruction.code, instruction.address, 1):
            if size == instruction.length:
                return f"{name} {operands}".rstrip()
    return instruction.name


def compare(instruction: "Instruction") -> None:
    """Raise DecodersDisagree when capstone reads another length or flow, known differences apart."""
