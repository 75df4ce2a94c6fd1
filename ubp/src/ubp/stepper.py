"""Run the instruction under a breakpoint, by any of the four ways, and repair what moved.

Rules:
- a `Plan` is made once per probe point and says everything; a `Step` is what one thread has under
  way;
- nothing here waits, resumes or signals: the caller does what the returned `Action` says and calls
  again;
- a step that did not happen (a fault, a signal first) is undone by `abort_step`: the thread stands
  at the probe point as if the instruction had not begun.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass

import insn
from insn import Fixups, Flow, Instruction, Method, Relocated
from ubp.errors import NotProbeable
from ubp.ports import Memory, Registers
from ubp.rules import Moved, StepRules


class Action(enum.Enum):
    """What the caller does with the thread next."""

    CONTINUE = "continue"
    STEP = "step"
    STEP_IN_PLACE = "step in place"
    """Hold the other threads, lift the breakpoint, step, lower it, let them go."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the instruction of one probe point is executed.

    `resume` is the address at which a thread can simply go on (a boosted copy; the target of a jump
    that needs no registers), None when there is more to do. `copy` is what must stand in the slot.
    `fixups` is what single-stepping the instruction, there or in place, needs to have repaired.
    """

    instruction: Instruction
    method: Method
    copy: Relocated | None = None
    emulate: Callable[[Registers, Memory], None] | None = None
    resume: int | None = None
    fixups: Fixups = Fixups.NONE
    free: bool = False
    """Whether a stepped copy leads where the original would, even when nobody steps it on."""

    def original_of(self, ip: int) -> int | None:
        """Return the original address that an address inside the copy stands for, None when it is
        outside.
        """
        copy = self.copy
        if copy is None:
            return None
        offset = ip - copy.address
        if not 0 <= offset < len(copy.code) + 1:
            return None
        best = None
        for boundary, original in copy.boundaries:
            if boundary <= offset:
                best = original
        return best


@dataclass(frozen=True, slots=True)
class Step:
    """A step that one thread has under way."""

    plan: Plan
    saved: int
    flags: int


class Stepper:
    """The state machine of one architecture; it keeps no state itself."""

    def __init__(self, rules: StepRules) -> None:
        self.rules = rules

    def plan(
        self,
        verdict: insn.Verdict,
        method: Method,
        slot: int | None = None,
        *,
        free: bool = False,
    ) -> Plan:
        """Say how an instruction will be executed; raises NotProbeable or insn's errors.

        `slot` is the address at which the copy will stand (needed for `step` and `boost`). With
        `free` the copy of a branch leads to the branch's own target, so that a thread that is left
        alone between two stops still goes the right way; it may take several steps.
        """
        instruction = verdict.instruction
        reason = verdict.why_not(method)
        if reason is not None:
            raise NotProbeable(
                reason.why, address=instruction.address, reason=reason.code, hint=reason.hint
            )
        if method is Method.EMULATE:
            return Plan(
                instruction,
                method,
                emulate=insn.emulator(instruction),
                resume=_constant_resume(instruction),
                fixups=_fixups(instruction),
            )
        if method is Method.INLINE:
            return self.in_place(instruction)
        if slot is None:
            raise NotProbeable(
                f"the method {method} needs a slot", address=instruction.address, reason="no-slot"
            )
        if method is Method.BOOST:
            copy = insn.relocate(instruction, slot, back=instruction.end)
            return Plan(instruction, method, copy, resume=slot, fixups=_fixups(instruction))
        if free and instruction.flow in _BRANCHES:
            copy = insn.relocate(instruction, slot, back=instruction.end, expand_calls=True)
            return Plan(instruction, method, copy, fixups=_fixups(instruction), free=True)
        copy = insn.relocate(instruction, slot)
        return Plan(instruction, method, copy, fixups=_of_calls(instruction, copy.fixups))

    @staticmethod
    def in_place(instruction: Instruction) -> Plan:
        """Plan to let the hardware execute an instruction where it stands, whatever the verdict on
        it.
        """
        return Plan(instruction, Method.INLINE, fixups=_fixups(instruction))

    def before_step(
        self, plan: Plan, registers: Registers, memory: Memory
    ) -> tuple[Action, Step | None]:
        """Set a thread that stands at the probe point on its way.

        Raises the memory's error when an emulated instruction cannot reach its operand: nothing has
        changed then, and the instruction must be run by `step` or `inline` so that the hardware
        reports the fault.
        """
        rules = self.rules
        if plan.resume is not None:
            registers[rules.ip] = plan.resume
            return Action.CONTINUE, None
        if plan.emulate is not None:
            plan.emulate(registers, memory)
            return Action.CONTINUE, None
        flags = registers[rules.flags]
        copy = plan.copy
        if copy is None:
            registers[rules.ip] = plan.instruction.address
            return Action.STEP_IN_PLACE, Step(plan, 0, flags)
        saved = 0
        if copy.scratch is not None:
            saved = registers[copy.scratch]
            registers[copy.scratch] = copy.scratch_value
        registers[rules.ip] = copy.address
        return Action.STEP, Step(plan, saved, flags)

    def after_step(self, step: Step, registers: Registers, memory: Memory) -> bool:
        """Repair what moved after the step; False when the same instruction must be stepped once
        more.
        """
        plan, rules = step.plan, self.rules
        instruction, copy = plan.instruction, plan.copy
        start = instruction.address if copy is None else copy.address
        if Fixups.REPEATS in plan.fixups and registers[rules.ip] == start:
            return False
        if plan.free and copy is not None:
            return self._after_free_step(copy, registers)
        fixups = plan.fixups & _IN_PLACE if copy is None else plan.fixups
        moved = Moved(instruction.address, instruction.length, start, step.flags)
        self._repair(fixups, moved, registers, memory)
        if copy is not None and copy.scratch is not None:
            registers[copy.scratch] = step.saved
        return True

    def _after_free_step(self, copy: Relocated, registers: Registers) -> bool:
        """Tell whether a free copy has come to where the original would be, and go there."""
        offset = registers[self.rules.ip] - copy.address
        if 0 <= offset < len(copy.code):
            original = dict(copy.boundaries).get(offset)
            if original is None:
                return False
            registers[self.rules.ip] = original
        return True

    def repair_in_place(self, plan: Plan, flags: int, registers: Registers, memory: Memory) -> None:
        """Undo what stepping itself did to an instruction whose copy needs no other repair; `flags`
        are from before.
        """
        copy = plan.copy
        start = plan.instruction.address if copy is None else copy.address
        moved = Moved(plan.instruction.address, plan.instruction.length, start, flags)
        self._repair(plan.fixups & _IN_PLACE, moved, registers, memory)

    def _repair(
        self, fixups: Fixups, moved: Moved, registers: Registers, memory: Memory
    ) -> None:
        """Make the repairs that are due; what was pushed needs none where its stack is gone."""
        for fixup, repair in self.rules.repairs.items():
            if fixup not in fixups:
                continue
            try:
                repair(moved, registers, memory)
            except Exception:  # the memory's own: its thread faults there soon
                if fixup not in _PUSHED:
                    raise

    def repair_newborn(self, plan: Plan, registers: Registers, memory: Memory) -> None:
        """Repair the registers of a thread that was born in the copy of a system call."""
        copy = plan.copy
        if copy is not None and Fixups.SYSTEM_CALL in plan.fixups:
            moved = Moved(plan.instruction.address, plan.instruction.length, copy.address, 0)
            self.rules.repairs[Fixups.SYSTEM_CALL](moved, registers, memory)

    def abort_step(self, step: Step, registers: Registers) -> None:
        """Undo a step that did not happen: the thread stands at the probe point again."""
        copy = step.plan.copy
        if copy is not None and copy.scratch is not None:
            registers[copy.scratch] = step.saved
        registers[self.rules.ip] = step.plan.instruction.address


def _fixups(instruction: Instruction) -> Fixups:
    """Return what single-stepping the instruction needs to have repaired, wherever it runs."""
    try:
        fixups = insn.relocate(instruction, instruction.address).fixups
    except insn.InsnError:
        return Fixups.NONE
    return _of_calls(instruction, fixups)


def _of_calls(instruction: Instruction, fixups: Fixups) -> Fixups:
    """Let the repair of system calls decide about the program counter: sigreturn ends anywhere."""
    if instruction.flow is Flow.SYSTEM_CALL:
        return (fixups | Fixups.SYSTEM_CALL) & ~Fixups.IP
    return fixups


def _constant_resume(instruction: Instruction) -> int | None:
    """Return where the thread goes on, if the instruction decides only that, and always alike."""
    if not insn.only_moves_ip(instruction):
        return None
    return {Flow.NEXT: instruction.end, Flow.JUMP: instruction.target}.get(instruction.flow)


_BRANCHES = frozenset({Flow.JUMP, Flow.CONDITIONAL_JUMP, Flow.CALL})
"""Instructions whose plain copy leads somewhere else than the original does."""
_PUSHED = Fixups.RETURN_ADDRESS | Fixups.PUSHED_TRAP_FLAG
"""Fixups that repair what the instruction pushed."""
_IN_PLACE = Fixups.PUSHED_TRAP_FLAG | Fixups.SYSTEM_CALL
"""Fixups that undo the stepping itself, needed where the instruction did not move as well."""
