"""Steps: where a thread is sent, and what is repaired when it comes back.

A case in cases/steps.txt runs one instruction by one method; the CPU's part (what the copy does) is
in the line.
"""

from pathlib import Path

import pytest

import insn
import ubp
from insn import Fixups, Method
from ubp.testing import FakeMemory, FakeRegisters, NotThere

TEXT, SLOT, STACK = 0x401000, 0x3FF000, 0x7FF800
TF = 0x100


def make_plan(code: str, method: Method, slot: int = SLOT) -> ubp.Plan:
    verdict = insn.judge(insn.decode(bytes.fromhex(code), TEXT, insn.X86_64))
    return ubp.Stepper(ubp.X86_64).plan(verdict, method, slot)


@pytest.fixture
def stepper():
    return ubp.Stepper(ubp.X86_64)


@pytest.fixture
def memory():
    return FakeMemory({TEXT: bytes(64), SLOT: bytes(64), STACK - 0x100: bytes(0x200)})


def read_cases():
    path = Path(__file__).parent / "cases" / "steps.txt"
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line and not line.startswith("#"):
            code, before, by_cpu, after, text = (part.strip() for part in line.split("|"))
            yield pytest.param(code, before, by_cpu, after, id=f"{number}: {text}")


def assign(text, registers, memory):
    names = {"SLOT": SLOT, "TEXT": TEXT, "STACK": STACK}
    for item in text.split():
        name, _, value = item.partition("=")
        number = sum(names.get(t) or int(t, 0) for t in value.split("+"))
        if name.startswith("["):
            at = sum(names.get(t) or int(t, 0) for t in name[1:-1].split("+"))
            memory.write(at, number.to_bytes(8, "little"))
        else:
            registers[name] = number


def check(text, registers, memory):
    wanted = FakeRegisters()
    shadow = FakeMemory({STACK - 0x100: bytes(0x200)})
    assign(text, wanted, shadow)
    for name, value in wanted.items():
        assert hex(registers[name]) == hex(value), name
    for at, size in shadow.writes:
        assert memory.read(at, size) == shadow.read(at, size), hex(at)


@pytest.mark.parametrize(("code", "before", "by_cpu", "after"), list(read_cases()))
def test_a_stepped_copy_leaves_what_the_original_would(
    code, before, by_cpu, after, stepper, memory
):
    plan = make_plan(code, Method.STEP)
    registers = FakeRegisters(rip=TEXT + 1, rsp=STACK, rflags=0x202)
    assign(before, registers, memory)
    action, step = stepper.before_step(plan, registers, memory)
    assert action is ubp.Action.STEP
    assert registers["rip"] == SLOT
    assign(by_cpu, registers, memory)
    assert stepper.after_step(step, registers, memory)
    check(after, registers, memory)


def test_a_repeated_string_instruction_is_one_step_of_many_rounds(stepper, memory):
    """X27: rep movsb stops after each round; the hit is one."""
    plan = make_plan("f3a4", Method.STEP)
    registers = FakeRegisters(rip=TEXT + 1, rcx=2, rflags=0x202)
    _, step = stepper.before_step(plan, registers, memory)
    assert not stepper.after_step(step, registers, memory)
    registers["rip"] = SLOT + 2
    assert stepper.after_step(step, registers, memory)
    assert registers["rip"] == TEXT + 2


def test_an_aborted_step_stands_at_the_probe_point_with_its_scratch_register_back(stepper, memory):
    far = 0x7FFF_0000_0000
    plan = make_plan("488b0500000000", Method.STEP, slot=far)
    assert Fixups.SCRATCH in plan.copy.fixups
    registers = FakeRegisters(rip=TEXT + 1, rsi=0x1234, rflags=0x202)
    _, step = stepper.before_step(plan, registers, memory)
    assert registers[plan.copy.scratch] == plan.copy.scratch_value
    stepper.abort_step(step, registers)
    assert (registers["rip"], registers["rsi"]) == (TEXT, 0x1234)


def test_a_boosted_copy_needs_no_second_stop(stepper, memory):
    plan = make_plan("488d4701", Method.BOOST)
    registers = FakeRegisters(rip=TEXT + 1)
    assert stepper.before_step(plan, registers, memory) == (ubp.Action.CONTINUE, None)
    assert registers["rip"] == SLOT == plan.resume


def test_every_boundary_of_a_copy_stands_for_an_original_address():
    plan = make_plan("488d4701", Method.BOOST)
    assert plan.original_of(SLOT) == TEXT
    assert plan.original_of(SLOT + 4) == TEXT + 4
    assert plan.original_of(SLOT - 1) is None
    assert plan.original_of(SLOT + 0x40) is None


def test_an_emulated_push_that_cannot_reach_its_stack_changes_nothing(stepper, memory):
    """U28, U26: the caller then lets the hardware raise the fault."""
    plan = make_plan("55", Method.EMULATE)
    registers = FakeRegisters(rip=TEXT + 1, rsp=0x10, rbp=1)
    with pytest.raises(NotThere):
        stepper.before_step(plan, registers, memory)
    assert registers["rsp"] == 0x10


def test_a_step_in_place_asks_to_hold_the_other_threads(stepper, memory):
    plan = make_plan("488d4701", Method.INLINE)
    registers = FakeRegisters(rip=TEXT + 1, rflags=0x202)
    action, step = stepper.before_step(plan, registers, memory)
    assert action is ubp.Action.STEP_IN_PLACE
    assert registers["rip"] == TEXT
    registers["rip"] = TEXT + 4
    assert stepper.after_step(step, registers, memory)
    assert registers["rip"] == TEXT + 4


def test_pushf_in_place_does_not_show_the_trap_flag_of_the_step(stepper, memory):
    """X22: the stepper's flag leaks into the pushed image."""
    plan = make_plan("9c", Method.INLINE)
    registers = FakeRegisters(rip=TEXT + 1, rsp=STACK, rflags=0x202)
    _, step = stepper.before_step(plan, registers, memory)
    assign(f"rip=TEXT+1 rsp=STACK+{-8} [STACK+{-8}]=0x302", registers, memory)
    assert stepper.after_step(step, registers, memory)
    check(f"[STACK+{-8}]=0x202", registers, memory)


@pytest.mark.parametrize("method", [Method.STEP, Method.BOOST, Method.EMULATE, Method.INLINE])
def test_a_method_that_the_verdict_refuses_is_refused_with_its_reason(method):
    """U20: int3 belongs to the program."""
    with pytest.raises(ubp.NotProbeable) as caught:
        make_plan("cc", method)
    assert caught.value.reason == "trap-instruction"
    assert caught.value.address == TEXT


def test_a_thread_born_in_a_stepped_system_call_begins_behind_the_original(stepper, memory):
    """U4: the child of clone comes to life in the slot."""
    plan = make_plan("0f05", Method.STEP)
    registers = FakeRegisters(rip=SLOT + 2, rcx=SLOT + 2, r11=0x302)
    stepper.repair_newborn(plan, registers, memory)
    assert (registers["rip"], registers["rcx"], registers["r11"]) == (TEXT + 2, TEXT + 2, 0x202)


@pytest.mark.parametrize("code", ["9c", "e811000000"])
def test_what_was_pushed_to_a_stack_that_is_gone_is_not_repaired(code, stepper, memory):
    plan = make_plan(code, Method.STEP)
    registers = FakeRegisters(rip=TEXT + 1, rsp=STACK, rflags=0x202)
    _, step = stepper.before_step(plan, registers, memory)
    registers["rip"], registers["rsp"] = SLOT + len(code) // 2, 0x10
    assert stepper.after_step(step, registers, memory)
    assert registers["rip"] == TEXT + len(code) // 2
