"""Repairs after stepping a copy on x86-64 (Intel SDM vol. 2: PUSHF, SYSCALL; Linux
arch/x86/kernel/step.c).
"""

from insn import Fixups
from ubp.ports import Memory, Registers
from ubp.rules import Moved, StepRules

TRAP_FLAG = 0x100
MASK = (1 << 64) - 1


def _ip(moved: Moved, registers: Registers, _memory: Memory) -> None:
    registers["rip"] = (registers["rip"] + moved.original - moved.copy) & MASK


def _return_address(moved: Moved, registers: Registers, memory: Memory) -> None:
    sp = registers["rsp"]
    pushed = int.from_bytes(memory.read(sp, 8), "little")
    memory.write(sp, ((pushed + moved.original - moved.copy) & MASK).to_bytes(8, "little"))


def _pushed_trap_flag(moved: Moved, registers: Registers, memory: Memory) -> None:
    # Bit 8 is bit 0 of the second byte, whatever the size of the image.
    if not moved.flags & TRAP_FLAG:
        at = registers["rsp"] + 1
        memory.write(at, bytes([memory.read(at, 1)[0] & ~1]))


def _system_call(moved: Moved, registers: Registers, _memory: Memory) -> None:
    # sigreturn and exec load other registers altogether: then the program counter is not behind the
    # copy.
    if registers["rip"] != moved.copy + moved.length:
        return
    if registers["rcx"] == moved.copy + moved.length:
        registers["rcx"] = moved.original + moved.length
        if not moved.flags & TRAP_FLAG:
            registers["r11"] &= ~TRAP_FLAG
    registers["rip"] = moved.original + moved.length


X86_64 = StepRules(
    ip="rip",
    sp="rsp",
    flags="rflags",
    skew=1,
    mask=MASK,
    repairs={
        Fixups.RETURN_ADDRESS: _return_address,
        Fixups.PUSHED_TRAP_FLAG: _pushed_trap_flag,
        Fixups.SYSTEM_CALL: _system_call,
        Fixups.IP: _ip,
    },
)
