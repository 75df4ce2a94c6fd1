"""Every instruction that the assembler makes, read back by both decoders of `insn`."""

import pytest

import insn
from ubp.x86_assembler import (
    ARITHMETIC,
    CONDITIONS,
    NUMBERS,
    REGISTERS,
    SHIFTS,
    UNARY,
    Assembler,
    Mem,
    Near,
    Thread,
)

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


LEGACY = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
NAMES = {
    1: [n[0] + "l" if n[1] == "x" else n + "l" for n in LEGACY] + [f"r{n}b" for n in range(8, 16)],
    2: [*LEGACY] + [f"r{n}w" for n in range(8, 16)],
    4: ["e" + n for n in LEGACY] + [f"r{n}d" for n in range(8, 16)],
    8: [*REGISTERS],
}
WORDS = {1: "byte", 2: "word", 4: "dword", 8: "qword"}
PLACES = {
    Mem("rbp"): "[rbp]",
    Mem("r13"): "[r13]",
    Mem("rsp"): "[rsp]",
    Mem("r12", 127): "[r12 + 0x7f]",
    Mem("rax", 128): "[rax + 0x80]",
    Mem("r8", -128): "[r8 - 0x80]",
    Mem("r9", -129): "[r9 - 0x81]",
    Mem("rbx", 0, "rcx", 8): "[rbx + rcx*8]",
    Mem("rbp", 0, "r12", 2): "[rbp + r12*2]",
    Mem("r13", 300, "rbp"): "[r13 + rbp + 0x12c]",
    Mem("rsp", 4, "r15", 4): "[rsp + r15*4 + 4]",
    Thread(0x2D0): "fs:[0x2d0]",
    Near("there", 8): "[rip + {}]",
}


def name(register: str, size: int) -> str:
    return NAMES[size][NUMBERS[register]]


def agrees(build, expected: str) -> None:
    """Both decoders must read the one instruction that is built as expected."""
    assembler = Assembler(ORIGIN)
    build(assembler)
    code = bytearray(assembler.code())
    for external in assembler.externals():
        assert external.end == len(code)
        code[external.at : external.at + 4] = (0x1234).to_bytes(4, "little")
    instruction = insn.decode(bytes(code), ORIGIN, insn.X86_64)
    assert instruction.length == len(code)
    assert instruction.text == expected.replace("{}", "0x1234")


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize(("place", "written"), PLACES.items(), ids=str)
def test_memory_operands_of_every_form_and_size(place, written, size):
    word = f"{WORDS[size]} ptr {written}"
    for register in ("rax", "rsi", "rsp", "rbp", "r9", "r12"):
        short = name(register, size)
        agrees(lambda a, r=register: a.mov(r, place, size), f"mov {short}, {word}")
        agrees(lambda a, r=register: a.mov(place, r, size), f"mov {word}, {short}")
        agrees(lambda a, r=register: a.test(place, r, size), f"test {word}, {short}")
        agrees(lambda a, r=register: a.xchg(place, r, size), f"xchg {word}, {short}")
        agrees(lambda a, r=register: a.lock_xadd(place, r, size), f"lock xadd {word}, {short}")
        agrees(
            lambda a, r=register: a.lock_cmpxchg(place, r, size), f"lock cmpxchg {word}, {short}"
        )
        for what in ARITHMETIC:
            agrees(
                lambda a, r=register, w=what: a.arithmetic(w, r, place, size),
                f"{what} {short}, {word}",
            )
            agrees(
                lambda a, r=register, w=what: a.arithmetic(w, place, r, size),
                f"{what} {word}, {short}",
            )
    for number in (0, 1, 0x7F):
        shown = f"{number:#x}" if number > 9 else f"{number}"
        agrees(lambda a, n=number: a.mov(place, n, size), f"mov {word}, {shown}")
        agrees(lambda a, n=number: a.test(place, n, size), f"test {word}, {shown}")
        for what in ARITHMETIC:
            agrees(
                lambda a, n=number, w=what: a.arithmetic(w, place, n, size),
                f"{what} {word}, {shown}",
            )
    agrees(lambda a: a.lock_inc(place, size), f"lock inc {word}")
    agrees(lambda a: a.lock_dec(place, size), f"lock dec {word}")
    agrees(
        lambda a: a.lock_arithmetic("or", place, "rdi", size),
        f"lock or {word}, {name('rdi', size)}",
    )
    for what in UNARY:
        agrees(lambda a, w=what: a.unary(w, place, size), f"{what} {word}")
    for what in SHIFTS:
        agrees(lambda a, w=what: a.shift(w, place, 3, size), f"{what} {word}, 3")


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("register", REGISTERS)
def test_register_operands_of_every_size(register, size):
    short, other = name(register, size), name("r10", size)
    agrees(lambda a: a.mov(register, "r10", size), f"mov {short}, {other}")
    agrees(lambda a: a.test(register, "r10", size), f"test {short}, {other}")
    for what in UNARY:
        agrees(lambda a, w=what: a.unary(w, register, size), f"{what} {short}")
    for what in SHIFTS:
        agrees(lambda a, w=what: a.shift(w, register, 7, size), f"{what} {short}, 7")
    if size > 1:
        agrees(lambda a: a.imul(register, "r10", size=size), f"imul {short}, {other}")
        agrees(lambda a: a.imul(register, "r10", 100, size), f"imul {short}, {other}, 0x64")
        agrees(lambda a: a.imul(register, "r10", 1000, size), f"imul {short}, {other}, 0x3e8")
        agrees(lambda a: a.bsr(register, "r10", size), f"bsr {short}, {other}")
        agrees(lambda a: a.lzcnt(register, "r10", size), f"lzcnt {short}, {other}")
        for condition in ("e", "b", "g"):
            agrees(
                lambda a, c=condition: a.cmov(c, register, "r10", size),
                f"cmov{condition} {short}, {other}",
            )
    for signed, names in ((False, ("movzx", "movzx")), (True, ("movsx", "movsxd"))):
        if size < 4:
            text = f"{names[0]} {register}, {other}"
        elif size == 4:
            text = f"movsxd {register}, r10d" if signed else f"mov {name(register, 4)}, r10d"
        else:
            text = f"mov {register}, r10"
        agrees(lambda a, s=signed: a.extend(register, "r10", size, s), text)


def test_what_has_one_form_only():
    for build, text in [
        (Assembler.lahf, "lahf"),
        (Assembler.sahf, "sahf"),
        (Assembler.push_flags, "pushfq"),
        (Assembler.pop_flags, "popfq"),
        (Assembler.rdtsc, "rdtsc"),
        (Assembler.rdtscp, "rdtscp"),
        (Assembler.extend_sign, "cqo"),
        (Assembler.pause, "pause"),
        (Assembler.syscall, "syscall"),
        (Assembler.int3, "int3"),
        (Assembler.ret, "ret"),
        (lambda a: a.rdpid("rdx"), "rdpid rdx"),
        (lambda a: a.rdpid("r9"), "rdpid r9"),
        (lambda a: a.lsl("rcx", "rdx"), "lsl ecx, edx"),
        (lambda a: a.shift_pair_right("rax", "rdx", 20), "shrd rax, rdx, 0x14"),
        (lambda a: a.set_if("o", "rax"), "seto al"),
        (lambda a: a.set_if("o", Mem("rsp", 1)), "seto byte ptr [rsp + 1]"),
        (lambda a: a.lea("r11", Near("there")), "lea r11, [rip + 0x1234]"),
        (lambda a: a.lea("rax", Mem("rdi", 1, "rsi")), "lea rax, [rdi + rsi + 1]"),
        (lambda a: a.jump_to(Mem("rsp", 8)), "jmp qword ptr [rsp + 8]"),
        (lambda a: a.call_to("r12"), "call r12"),
        (lambda a: a.mov("rax", -1), "mov rax, 0xffffffffffffffff"),
        (lambda a: a.mov("r9", 0x8000_0000), "mov r9d, 0x80000000"),
        (lambda a: a.mov("r9", -0x8000_0001), "movabs r9, 0xffffffff7fffffff"),
    ]:
        agrees(build, text)


def test_what_stands_in_front_is_put_in_last():
    assembler = Assembler(ORIGIN)
    assembler.jump_if("e", "seldom")
    assembler.lea("rax", Near("there", 4))
    assembler.label("end")
    assembler.begin_cold()
    assembler.label("seldom")
    assembler.jump("end")
    code = assembler.code()
    jump = insn.decode(code, ORIGIN, insn.X86_64)
    branch = insn.decode(code[jump.length :], jump.end, insn.X86_64)
    assert (branch.target, jump.target) == (ORIGIN, ORIGIN + len(code))
    assert (assembler.address("seldom"), assembler.address("end")) == (ORIGIN, ORIGIN + len(code))
    (external,) = assembler.externals()
    assert (external.end, external.symbol, external.offset) == (len(code), "there", 4)
    assert code[external.at : external.end] == bytes(4)


def test_operands_that_cannot_be_are_errors():
    for build in (
        lambda a: a.mov("rax", Mem("rax", 0, "rsp")),
        lambda a: a.mov(Mem("rax"), 1 << 31),
        lambda a: a.mov("rax", Mem("rax", 0, "rcx", 3)),
    ):
        with pytest.raises((ValueError, KeyError)):
            build(Assembler())
