"""The frame of a signal handler as Linux lays it out on an x86-64 stack.

struct rt_sigframe (arch/x86/include/asm/sigframe.h), struct sigcontext and the bytes that software
adds to the vector state (arch/x86/include/uapi/asm/sigcontext.h). The kernel reads it back at
`rt_sigreturn`, whoever wrote it.
"""

import struct
from collections.abc import Mapping

SAVED = (
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx"),
    *("rax", "rcx", "rsp", "rip", "rflags"),
)
FLAGS = 1 | 2 | 4
"""There is vector state, the stack segment is saved, and it is the one to restore (UC_…)."""
NO_SUCH_MODE = 3
"""In the flags of the alternate stack: the kernel then leaves that as it is (do_sigaltstack)."""
SEGMENTS = struct.Struct("<HHHH")
AT_STATE = 232
AT_MASK = 304
SIZE = 440
"""Up to the vector state: return address, ucontext, siginfo."""
SOFTWARE = 464
"""Where in the vector state the software's own bytes begin."""
PRESENT = 512
"""Where the vector state says which of its parts are not in their initial state."""
BEGIN, END = 0x4650_5853, 0x4650_5845
TILES = 3 << 17
"""The parts of the vector state that a program must ask for (arch/x86/include/asm/fpu/types.h)."""
UNASKED = 2696
"""Where the last part before those ends; without them the kernel takes no more."""


def frame(
    registers: Mapping[str, int], mask: int, state: bytes, top: int, restorer: int
) -> tuple[int, bytes]:
    """Return where a frame that ends below `top` begins, and its bytes.

    `state` is the vector state as ptrace gives it; `restorer` is where the handler would return to.
    """
    present = int.from_bytes(state[PRESENT : PRESENT + 8], "little")
    if len(state) > UNASKED and not present & TILES:
        state = state[:UNASKED]
    size = len(state)
    state_at = top - size - 4 & -64
    begin = (state_at - SIZE & -16) - 8
    head = bytearray(state_at - begin)
    struct.pack_into("<QQQQiiQ", head, 0, restorer, FLAGS, 0, 0, NO_SUCH_MODE, 0, 0)
    struct.pack_into(f"<{len(SAVED)}Q", head, 48, *(registers[name] for name in SAVED))
    SEGMENTS.pack_into(head, 192, registers["cs"], 0, 0, registers["ss"])
    struct.pack_into("<Q", head, AT_STATE, state_at)
    struct.pack_into("<Q", head, AT_MASK, mask)
    marked = bytearray(state)
    every = (1 << 64) - 1 if present & TILES else ~TILES & (1 << 64) - 1
    struct.pack_into("<IIQI", marked, SOFTWARE, BEGIN, size + 4, every, size)
    return begin, bytes(head) + bytes(marked) + END.to_bytes(4, "little")
