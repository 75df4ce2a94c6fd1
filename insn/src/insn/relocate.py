"""Makes code that does elsewhere what instructions of any architecture do where they are."""

from collections.abc import Sequence
from itertools import pairwise

from insn.errors import NotRelocatable
from insn.model import Calls, Instruction, Relocated


def relocate(
    instructions: Instruction | Sequence[Instruction],
    to: int,
    *,
    back: int | None = None,
    expand_calls: bool = False,
    balanced: bool = False,
) -> Relocated:
    """Make a copy of one instruction, or of several that follow each other, that runs at the
    address `to`.

    Without `back` the result is the bare copy of one instruction, to be single-stepped and then
    repaired as its `fixups` say. With `back` the copy runs freely and ends in a jump to that
    address; nothing is left to repair. `expand_calls` lets a call that comes last push its
    original return address by itself, and then jump: it is not a call any more, which a shadow
    stack would notice and the CPU's return predictor does. Registers and flags are those of a
    call; an indirect call may overwrite a little more of the stack (`Relocated.overwrites`).
    The CPU predicts returns by the calls that it saw: without one, not only the return of the
    called function is mispredicted, but those of all its callers, too. With `balanced`, a call
    to the next instruction makes up for it; then there are a few more places where a thread
    stands in the midst of a call (`Relocated.pushed`).

    Raises NotRelocatable with the reason, OutOfReach when a memory operand cannot be reached from
    `to`.
    """
    run = [instructions] if isinstance(instructions, Instruction) else list(instructions)
    if not run:
        raise NotRelocatable("there is no instruction to relocate")
    for before, after in pairwise(run):
        if before.end != after.address:
            raise NotRelocatable(
                "the instructions do not follow each other",
                address=after.address,
                hint="relocate each run by itself",
            )
    calls = (Calls.BALANCE if balanced else Calls.EXPAND) if expand_calls else Calls.REFUSE
    return run[0].arch.relocate(run, to, back, calls)
