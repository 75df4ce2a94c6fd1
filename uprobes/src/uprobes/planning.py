"""How the probe points of one process are executed: plans, and the slots of their copies."""

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import insn
import ssol
import ubp
from insn import Fixups, Method, Reason, Relocated, Verdict
from uprobes.errors import ProbeError
from uprobes.methods import choose
from uprobes.point import ProbePoint

if TYPE_CHECKING:
    from uprobes.area import AreaMapper
    from uprobes.guard.keeper import Guard
    from uprobes.machine import Machine
    from uprobes.memory import ProcessMemory
    from uprobes.tracee import Tracee

NEEDS_TRACER = Fixups.SCRATCH | Fixups.RETURN_ADDRESS | Fixups.LOADED_FLAGS | Fixups.SYSTEM_CALL
"""A copy with one of these can't be left to run by itself."""
SLOT_SIZE = 32
RECLAIM_AFTER = 256
"""Freed slots after which it is tried to use them again."""
AREA_SIZE = 1 << 16


class Planning:
    """The part of a `Process` that decides how its instructions are executed."""

    memory: "ProcessMemory"
    machine: "Machine"
    stepper: ubp.Stepper
    guard: "Guard | None"
    caller: "Tracee | None"

    def __init__(self, mapper: "AreaMapper") -> None:
        self.mapper = mapper
        self.pool = self._new_pool()
        self.copies: dict[int, ubp.Plan] = {}
        """The plan whose copy stands in the slot that begins at an address."""
        self._freed = 0
        """Slots given back and not reclaimed yet."""
        self._former: list[tuple[int, int]] = []
        """Areas that a dead tracer left, or that came with the memory of the process that this one
        was forked from.
        """

    def _new_pool(self) -> ssol.Pool:
        return ssol.Pool(self.mapper, slot_size=SLOT_SIZE, area_size=AREA_SIZE)

    def plan(self, point: ProbePoint, caller: "Tracee") -> ubp.Plan:
        """Decide how a probe point is executed, at its first hit; `caller` is the thread that hit
        it.

        Methods are tried from the cheapest on; one that needs a slot which can't be had is passed
        over.
        """
        if point.trampoline:
            point.lead()
            assert point.plan is not None
            return point.plan
        verdict = point.verdict
        self.caller = caller
        try:
            methods = choose(verdict, point.every) or (Method.INLINE,)
            for method in methods:
                try:
                    plan = self._plan(verdict, method)
                except (ssol.SsolError, ProbeError, insn.InsnError) as error:
                    point.unplanned[method] = Reason(str(error.code), str(error))
                    continue
                break
            else:
                plan = self.stepper.in_place(verdict.instruction)
        finally:
            self.caller = None
        point.short = verdict.instruction.length <= self.machine.breakpoint_skew
        point.plan = plan
        return plan

    def _plan(self, verdict: Verdict, method: Method) -> ubp.Plan:
        if method not in (Method.STEP, Method.BOOST):
            return self.stepper.plan(verdict, method)
        instruction = verdict.instruction
        reach = [instruction.address]
        if instruction.pc_relative is not None:
            reach.append(instruction.pc_relative.target)
        try:
            slot = self.pool.take(reach=tuple(reach), size=SLOT_SIZE)
        except ssol.NoAreaInReach:
            if method is Method.BOOST:
                raise
            slot = self.pool.take(reach=(), size=SLOT_SIZE)
        try:
            plan = self.stepper.plan(verdict, method, slot.address, free=True)
            assert plan.copy is not None
            self.memory.write(slot.address, self._filled(plan, plan.copy, slot.size))
        except BaseException:
            self.pool.free(slot)
            raise
        self.copies[slot.address] = plan
        if self.guard is not None:
            self.guard.set_areas(self.guarded_areas)
            if not plan.copy.fixups & NEEDS_TRACER:
                bare = method is Method.STEP and not plan.free
                copied = len(plan.copy.code) if bare else 0
                self.guard.carry_on_at(
                    instruction.address, slot.address, instruction.length, copied
                )
        return plan

    def _filled(self, plan: ubp.Plan, copy: Relocated, size: int) -> bytes:
        """Return what stands in a slot: the copy, a way back to the original, and traps.

        A boosted copy has its way back; a stepped one gets it too, for the case that nobody is
        there to take the step's trap.
        """
        arch = self.machine.arch
        code = copy.code
        if plan.method is Method.STEP and not plan.free:
            with contextlib.suppress(insn.InsnError):
                code += arch.jump(copy.address + len(code), plan.instruction.end)
        return code + arch.fill * ((size - len(code)) // len(arch.fill))

    def drop_plans(self, points: Iterable[ProbePoint]) -> None:
        """Give the slots of probe points back; reuse waits for proof that nobody is inside, and so
        long the guard knows what stands there.
        """
        for point in points:
            plan, point.plan = point.plan, None
            if plan is not None and plan.copy is not None:
                slot = self.pool.find(plan.copy.address)
                if slot is not None:
                    self.pool.free(slot)
                    self._freed += 1

    @property
    def wants_reclaim(self) -> bool:
        """Whether so many slots were freed that it is worth stopping threads to use them again."""
        return self._freed >= RECLAIM_AFTER

    def reclaim(self, busy: Iterable[int]) -> None:
        """Make freed slots usable in which none of these program counters is."""
        fill = self.machine.arch.fill
        slots = self.pool.reclaim(busy)
        if self.guard is not None:
            self.guard.forget_copies([slot.address for slot in slots])
        for slot in slots:
            del self.copies[slot.address]
            self.memory.write(slot.address, fill * (slot.size // len(fill)))
        self._freed = len(self.pool.quarantined)

    def plan_at(self, ip: int) -> ubp.Plan | None:
        """Return the plan whose copy stands in the slot around an address."""
        return self.copies.get(ip - ip % SLOT_SIZE) if self.holds(ip) else None

    @property
    def guarded_areas(self) -> list[tuple[int, int]]:
        """The areas that the guard must know of."""
        return self.areas

    @property
    def areas(self) -> list[tuple[int, int]]:
        """The areas that hold slots, those that others mapped included: start and end."""
        return [*self._former, *((a.address, a.address + a.size) for a in self.pool.areas)]

    def take_areas(self, areas: list[tuple[int, int]]) -> None:
        """Take over areas that somebody else mapped."""
        self._former += areas

    def drop_area(self, start: int) -> None:
        """Forget an area that somebody else mapped, and that is unmapped."""
        self._former = [area for area in self._former if area[0] != start]

    def holds(self, ip: int) -> bool:
        """Tell whether an address is in any area that holds slots."""
        return self.pool.holds(ip) or any(start <= ip < end for start, end in self._former)

    def original_of(self, ip: int) -> int | None:
        """Return the original address that an address in a slot stands for, None for any other
        address.
        """
        plan = self.plan_at(ip)
        return None if plan is None else plan.original_of(ip)
