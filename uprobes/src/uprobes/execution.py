"""Execute the instruction of a probe point that a thread has hit, and set the thread on its way."""

from typing import TYPE_CHECKING

from insn import InsnError, Method
from ubp import Action, Plan
from uprobes.errors import ProbeError
from uprobes.in_place import InPlace
from uprobes.patch.faults import jump_back
from uprobes.point import ProbePoint
from uprobes.probe import ProbeState
from uprobes.tracee import State, Tracee

if TYPE_CHECKING:
    from uprobes.engine import Engine


class Execution:
    """Carries out plans for an engine's threads."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.in_place = InPlace(engine)

    def execute(self, tracee: Tracee, point: ProbePoint, plan: Plan) -> None:
        """Execute the instruction of a probe point, unless a handler sent the thread elsewhere."""
        engine = self.engine
        registers, words, stepper = tracee.registers, tracee.words, tracee.process.stepper
        if tracee.state is State.GONE:
            engine.sleeping.run_unheld(tracee)
            return  # a handler detached us
        if tracee.deferred:
            engine.sleeping.park(tracee, point)
            return
        if words[tracee.ip_word] != point.address:
            # Should we die now, the guard knows by this that the trap was dealt with.
            registers[engine.machine.flags] |= engine.machine.done_flag
            tracee.resume()
            return
        if plan.method is Method.TRAP and point.onward is None:
            jump_back(engine, tracee, point)
        steps_itself = tracee.steps_itself
        if steps_itself and plan.resume is not None and plan.method is not Method.TRAP:
            # Its own trap would come inside the copy, or one instruction too late.
            plan = stepper.in_place(plan.instruction)
        try:
            action, step = stepper.before_step(plan, registers, tracee.operands)
        except (ProbeError, InsnError):
            # The operand can't be used. The hardware shall say so: run the instruction itself.
            in_place = stepper.in_place(plan.instruction)
            action, step = stepper.before_step(in_place, registers, tracee.operands)
        tracee.step = step
        if action is Action.STEP_IN_PLACE:
            self.in_place.step(tracee, point.address)
        elif steps_itself and plan.emulate is not None:
            engine.signals.trap_itself(tracee)
        else:
            if plan.emulate is not None:
                words[tracee.flags_word] |= engine.machine.done_flag
            tracee.resume(step=action is Action.STEP)

    def give_up(self, tracee: Tracee, point: ProbePoint, error: ProbeError | InsnError) -> None:
        """Take out probes whose instruction turns out at its first hit to be none that we know.

        Many at once are admitted without a close look at each.
        """
        probes = point.every
        self.engine.arming.disarm(probes)
        for probe in probes:
            probe.misses += 1
            probe.state = ProbeState.DISABLED
            probe.error = ProbeError(
                f"the instruction can't be probed after all: {error}",
                spec=probe.spec,
                address=point.address,
                code=str(error.code),
            )
        tracee.registers[tracee.machine.ip] = point.address
        tracee.resume()
