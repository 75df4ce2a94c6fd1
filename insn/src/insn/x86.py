"""The x86 architectures: 64-, 32- and 16-bit code, one table and one set of rules for all three."""

from functools import partial

from insn import second
from insn.arch import Arch
from insn.errors import OutOfReach
from insn.model import Instruction
from insn.x86_copies import near_jump
from insn.x86_decode import MAX_LENGTH
from insn.x86_decode import decode as _decode
from insn.x86_detail import NAMES_32, NAMES_64
from insn.x86_effects import effects
from insn.x86_emulate import emulator, only_moves_ip
from insn.x86_judge import judge
from insn.x86_relocate import relocate


def _arch(
    name: str,
    bits: int,
    registers: tuple[str, ...],
    *,
    ip: str,
    sp: str,
    flags: str,
    red_zone: int = 0,
) -> Arch:
    def decode(code: bytes, address: int) -> Instruction:
        return _decode(code, address, arch)

    arch = Arch(
        name=name,
        bits=bits,
        byte_order="little",
        pointer_size=bits // 8,
        max_length=MAX_LENGTH,
        alignment=1,
        breakpoint=b"\xcc",
        trap_advance=1,
        fill=b"\xcc",
        red_zone=red_zone,
        program_counter=ip,
        stack_pointer=sp,
        flags=flags,
        registers=registers,
        jump_size=3 if bits == 16 else 5,
        jump_reach=1 << (15 if bits == 16 else 31),
        decode=decode,
        text=second.text,
        effects=effects,
        judge=judge,
        relocate=relocate,
        emulator=emulator,
        only_moves_ip=only_moves_ip,
        jump=partial(_jump, bits),
        jump_field=0 if bits == 16 else 1,
        short_jump_size=0 if bits == 16 else 2,
        short_jump=None if bits == 16 else _short_jump,
        entry_marks=(b"\xf3\x0f\x1e\xfa", b"\xf3\x0f\x1e\xfb"),
    )
    return arch


def _jump(bits: int, at: int, to: int) -> bytes:
    """Write the jump from `at` to `to`; OutOfReach beyond ±2 GiB in 64-bit code."""
    code = near_jump(bits, at, to)
    if code is None:
        raise OutOfReach(
            f"a jump cannot reach {to:#x}", address=at, hint="choose a place within 2 GiB"
        )
    return code


def _short_jump(at: int, to: int) -> bytes:
    """Write the jump of two bytes; OutOfReach beyond -128 … 127 bytes from its end."""
    distance = to - at - 2
    if not -128 <= distance < 128:
        raise OutOfReach(
            f"a short jump cannot reach {to:#x}",
            address=at,
            hint="choose a place within 127 bytes",
        )
    return bytes((0xEB, distance & 0xFF))


_SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss", "fs_base", "gs_base")

X86_64 = _arch(
    "x86_64",
    64,
    (*NAMES_64, "rip", "rflags", *_SEGMENTS),
    ip="rip",
    sp="rsp",
    flags="rflags",
    red_zone=128,
)
_REGISTERS_32 = (*NAMES_32, "eip", "eflags", *_SEGMENTS)
X86_32 = _arch("x86_32", 32, _REGISTERS_32, ip="eip", sp="esp", flags="eflags")
X86_16 = _arch("x86_16", 16, _REGISTERS_32, ip="eip", sp="esp", flags="eflags")
