"""Which registers and flags hold nothing that the program will still look at."""

from collections.abc import Callable
from dataclasses import dataclass

from insn.errors import InsnError
from insn.model import Flow, Instruction

Fetch = Callable[[int], Instruction]


@dataclass(frozen=True, slots=True)
class Dead:
    """What may be overwritten before an instruction without the program noticing."""

    registers: frozenset[str]
    flags: frozenset[str]


_NOTHING = Dead(frozenset(), frozenset())
_Live = tuple[frozenset[str], frozenset[str]]


def dead_before(
    address: int,
    fetch: Fetch,
    candidates: frozenset[str],
    flags: frozenset[str],
    *,
    limit: int = 48,
    flags_across_calls: bool = False,
) -> Dead:
    """Tell which of the registers and flags named are dead before the instruction at `address`.

    `fetch` decodes the instruction at an address (or raises InsnError where there is none).
    Followed are at most `limit` instructions; where the way leads out of sight (indirect jumps,
    returns, traps, system calls, unknown code) everything counts as read. The calling conventions
    of all our architectures neither pass nor keep condition flags across calls and returns; hand-
    written code may: `flags_across_calls` takes that into account.
    """
    seen = _follow(address, fetch, limit)
    if address not in seen:
        return _NOTHING
    universe: _Live = (candidates, flags)
    at_exit: _Live = (candidates, flags if flags_across_calls else frozenset())
    live: dict[int, _Live] = {at: (frozenset(), frozenset()) for at in seen}
    changed = True
    while changed:
        changed = False
        for at, instruction in reversed(seen.items()):
            before = _before(instruction, live, universe, at_exit)
            if before != live[at]:
                live[at] = before
                changed = True
    registers_live, flags_live = live[address]
    return Dead(candidates - registers_live, flags - flags_live)


def _follow(address: int, fetch: Fetch, limit: int) -> dict[int, Instruction]:
    """Decode what can be reached from an address, nearest first."""
    seen: dict[int, Instruction] = {}
    waiting = [address]
    while waiting and len(seen) < limit:
        at = waiting.pop(0)
        if at in seen:
            continue
        try:
            instruction = fetch(at)
        except InsnError:
            continue
        seen[at] = instruction
        waiting += _successors(instruction)
    return seen


def _successors(instruction: Instruction) -> list[int]:
    flow = instruction.flow
    if flow is Flow.NEXT:
        return [instruction.end]
    if instruction.target is None:
        return []
    if flow is Flow.JUMP:
        return [instruction.target]
    return [instruction.target, instruction.end] if flow is Flow.CONDITIONAL_JUMP else []


def _before(
    instruction: Instruction, live: dict[int, _Live], universe: _Live, at_exit: _Live
) -> _Live:
    """Compute what is live before an instruction from what is live behind it."""
    flow = instruction.flow
    if flow in (Flow.CALL, Flow.INDIRECT_CALL, Flow.RETURN):
        registers, flags = at_exit
    else:
        registers = flags = frozenset()
        successors = _successors(instruction) or [-1]
        for successor in successors:
            more_registers, more_flags = live.get(successor, universe)
            registers |= more_registers
            flags |= more_flags
    killed = instruction.writes - instruction.reads
    flags_killed = instruction.flags_written - instruction.flags_read
    return (
        (registers - killed) | (instruction.reads & universe[0]),
        (flags - flags_killed) | (instruction.flags_read & universe[1]),
    )
