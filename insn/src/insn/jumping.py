"""The forms in which a jump is written over code, and the bytes of each."""

import enum
from dataclasses import dataclass

from insn.arch import Arch
from insn.errors import OutOfReach
from insn.model import Instruction, Reason


class JumpForm(enum.StrEnum):
    """How a jump is written over the code, the best first."""

    JUMP = "jump"
    """All bytes of the jump are written; the trampoline may be anywhere in reach."""
    SHORT = "short"
    """A jump of two bytes leads to a hole in proven padding nearby, where the long one stands."""
    PUNNED = "punned"
    """The last bytes of the jump are the first of the next instruction, which stays as it is:
    these bytes are part of the distance, so that the trampoline must be in a certain place."""


JUMP_FORMS: tuple[JumpForm | None, ...] = (None, *JumpForm)
"""What the numbers in a window's `form` mean; 0: no jump may be written."""


@dataclass(frozen=True, slots=True)
class PatchWindow:
    """What a jump at `address` displaces: `instructions` up to `end`.

    `form` says how the jump is written, None when it must not be; `reason` why it is no plain
    jump. `size` bytes change at `address`, of which the last `padding` are behind the displaced
    instructions. `hole` is where the second jump of a short one stands, else 0. The trampoline may
    begin anywhere in `low` … `high` - 1. All addresses are the file's.
    """

    address: int
    size: int
    end: int
    padding: int
    instructions: tuple[Instruction, ...]
    reason: Reason | None
    form: JumpForm | None = JumpForm.JUMP
    hole: int = 0
    low: int = 0
    high: int = 0

    @property
    def allowed(self) -> bool:
        """Whether a plain jump may be written."""
        return self.reason is None

    def jump_bytes(self, trampoline: int) -> tuple[tuple[int, bytes], ...]:
        """Give what to write: pairs of address and bytes, in the order to be written.

        `trampoline` is an address of the file, too: that of the process less the file's bias.
        Raises OutOfReach when it lies outside of `low` … `high` - 1, or no jump may be written.
        """
        if not self.instructions:
            raise _no_jump(self.address, trampoline)
        arch = self.instructions[0].arch
        return jump_bytes(
            arch, self.form, self.address, self.size, self.hole, self.low, self.high, trampoline
        )


def jump_bytes(
    arch: Arch,
    form: JumpForm | None,
    address: int,
    size: int,
    hole: int,
    low: int,
    high: int,
    trampoline: int,
) -> tuple[tuple[int, bytes], ...]:
    """Give what to write: see `PatchWindow.jump_bytes`."""
    mask = arch.address_mask
    if form is None or (trampoline - low) & mask >= (high - low) & mask:
        raise _no_jump(address, trampoline, (low, high) if form else None)
    at = hole if form is JumpForm.SHORT else address
    # The same place without the turn at the end of memory: displacements are what counts.
    distance = (trampoline - at) & mask
    code = arch.jump(at, at + distance - (mask + 1) * (distance > mask >> 1))
    if form is JumpForm.SHORT:
        assert arch.short_jump is not None
        return (hole, code), (address, arch.short_jump(address, hole))
    return ((address, code[:size]),)


def _no_jump(address: int, trampoline: int, room: tuple[int, int] | None = None) -> OutOfReach:
    return OutOfReach(
        f"no jump can be written there that leads to {trampoline:#x}",
        address=address,
        hint=f"choose a place from {room[0]:#x} to {room[1] - 1:#x}" if room else "use trap",
    )
