"""Every instruction that the assembler makes, read back by both decoders of `insn`."""

import pytest

import insn
from ubp.x86_assembler import ARITHMETIC, CONDITIONS, REGISTERS, Assembler, Mem

ORIGIN = 0x40_0000


def text_of(build) -> str:
    assembler = Assembler(ORIGIN)
    build(assembler)
    code = assembler.code()
    instruction = insn.decode(code, ORIGIN, insn.X86_64)
    assert instruction.length == len(code)
    return instruction.text


@pytest.mark.parametrize("register", REGISTERS)
def test_loads_and_stores_reach_every_base_register(register):
    assert (
        text_of(lambda a: a.mov("rax", Mem(register, 8))) == f"mov rax, qword ptr [{register} + 8]"
    )
    assert (
        text_of(lambda a: a.mov(Mem(register, -8), "r9")) == f"mov qword ptr [{register} - 8], r9"
    )
    assert text_of(lambda a: a.mov(register, "r15")) == f"mov {register}, r15"
    assert text_of(lambda a: a.mov(register, 0x12345678)).endswith(", 0x12345678")
    assert text_of(lambda a: a.mov(register, 1 << 40)) == f"movabs {register}, 0x10000000000"
    assert text_of(lambda a: a.push(register)) == f"push {register}"
    assert text_of(lambda a: a.pop(register)) == f"pop {register}"
    assert text_of(lambda a: a.jump_to(register)) == f"jmp {register}"
    assert text_of(lambda a: a.lea(register, Mem("rsp", -128))) == f"lea {register}, [rsp - 0x80]"
    assert text_of(lambda a: a.load_byte(register, Mem("r12"))).startswith(
        f"movzx {register}, byte"
    )
    assert text_of(lambda a: a.shift_right(register, 3)) == f"shr {register}, 3"
    assert text_of(lambda a: a.shift_left(register, 5)) == f"shl {register}, 5"


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_has_all_three_forms(name):
    assert text_of(lambda a: a.arithmetic(name, "r8", 0x1000)) == f"{name} r8, 0x1000"
    assert text_of(lambda a: a.arithmetic(name, "rsi", "r10")) == f"{name} rsi, r10"
    assert (
        text_of(lambda a: a.arithmetic(name, "rcx", Mem("rdx", 16)))
        == f"{name} rcx, qword ptr [rdx + 0x10]"
    )
    assert (
        text_of(lambda a: a.arithmetic(name, Mem("rdx", 16), 1, size=4))
        == f"{name} dword ptr [rdx + 0x10], 1"
    )


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditional_jumps_reach_labels_before_and_behind(condition):
    assembler = Assembler(ORIGIN)
    assembler.label("top")
    assembler.jump_if(condition, "end")
    assembler.jump_if(condition, "top")
    assembler.label("end")
    code = assembler.code()
    first = insn.decode(code, ORIGIN, insn.X86_64)
    second = insn.decode(code[first.length :], first.end, insn.X86_64)
    assert (first.target, second.target) == (assembler.address("end"), ORIGIN)
    assert first.flow is insn.Flow.CONDITIONAL_JUMP


def test_jumps_calls_and_addresses_of_labels_are_relative_to_their_own_end():
    assembler = Assembler(ORIGIN)
    assembler.jump("here")
    assembler.call("here")
    assembler.lea_label("r11", "here")
    assembler.label("here")
    code, at, targets = assembler.code(), ORIGIN, []
    while code:
        instruction = insn.decode(code, at, insn.X86_64)
        targets.append(instruction.target or instruction.pc_relative.target)
        code, at = code[instruction.length :], instruction.end
    assert targets == [assembler.address("here")] * 3


@pytest.mark.parametrize("register", REGISTERS)
def test_words_near_the_code_are_reached_from_the_program_counter(register):
    assembler = Assembler(ORIGIN)
    assembler.load_from(register, ORIGIN + 0x1000)
    load = insn.decode(assembler.code(), ORIGIN, insn.X86_64)
    assert load.text.startswith(f"mov {register}, qword ptr [rip")
    assert load.pc_relative.target == ORIGIN + 0x1000
    assembler.jump_through(ORIGIN - 0x1000)
    jump = insn.decode(assembler.code()[load.length :], load.end, insn.X86_64)
    assert jump.flow is insn.Flow.INDIRECT_JUMP
    assert jump.pc_relative.target == ORIGIN - 0x1000


def test_a_label_that_is_nowhere_or_twice_is_an_error():
    assembler = Assembler()
    assembler.jump("nowhere")
    with pytest.raises(KeyError):
        assembler.code()
    assembler.label("once")
    with pytest.raises(ValueError, match="stands twice"):
        assembler.label("once")
