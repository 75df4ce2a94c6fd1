"""Seccomp filters by their text: what each says of a call, one case a line."""

import errno

import pytest

from uprobes.bpf import INSTRUCTION, Action, Answer, BadFilter, SystemCall, ask, run, unpack
from uprobes.seccomp import described

CODES = {
    "ld": 0x20,
    "ldi": 0x00,
    "ldm": 0x60,
    "ldlen": 0x80,
    "ldx": 0x01,
    "ldxm": 0x61,
    "ldxlen": 0x81,
    "st": 0x02,
    "stx": 0x03,
    "tax": 0x07,
    "txa": 0x87,
    "neg": 0x84,
    "ja": 0x05,
    "jeq": 0x15,
    "jgt": 0x25,
    "jge": 0x35,
    "jset": 0x45,
    "jeqx": 0x1D,
    "add": 0x04,
    "sub": 0x14,
    "mul": 0x24,
    "div": 0x34,
    "or": 0x44,
    "and": 0x54,
    "lsh": 0x64,
    "rsh": 0x74,
    "xor": 0xA4,
    "divx": 0x3C,
    "lshx": 0x6C,
    "rshx": 0x7C,
    "ret": 0x06,
    "reta": 0x16,
    "mod": 0x94,
    "ldh": 0x28,
}
WORDS = {
    "nr": 0,
    "arch": 4,
    "ip": 8,
    "ip.high": 12,
    **{f"arg{n}": 16 + 8 * n for n in range(6)},
    **{f"arg{n}.high": 20 + 8 * n for n in range(6)},
    "allow": 0x7FFF0000,
    "log": 0x7FFC0000,
    "trace": 0x7FF00000,
    "notify": 0x7FC00000,
    "eperm": 0x00050001,
    "enosys": 0x00050026,
    "trap": 0x00030000,
    "kill-thread": 0,
    "kill": 0x80000000,
    "x86-64": 0xC000003E,
}
MMAP, ARCH = 9, 0xC000003E
CALL = SystemCall(MMAP, ARCH, 0x7F12_3456_789A, (0, 0x1000, 5, 0x22, (1 << 64) - 1, 0))

CASES = """
ret allow                                            | ALLOW          | whatever the call is
ret log                                              | LOG            | the same, written down
ret eperm                                            | ERRNO 1        | an error of the call
ret trap                                             | TRAP 0         | a signal
ret 0x7ff00005                                       | TRACE 5        | a word for the tracer
ret kill-thread                                      | KILL_THREAD    | 0 is strict, too
ret kill                                             | KILL_PROCESS   | a negative number
ret 0x12340000                                       | KILL_PROCESS   | what no kernel knows
ret 0x00060007                                       | KILL_PROCESS 7 | the same
ld nr; jeq 9 0 1; ret kill; ret allow                | KILL_PROCESS   | the number
ld nr; jeq 11 0 1; ret kill; ret allow               | ALLOW          | another number
ld arch; jeq x86-64 0 1; ret allow; ret kill         | ALLOW          | the architecture
ld arg2; jset 4 0 1; ret eperm; ret allow            | ERRNO 1        | a bit of an argument
ld arg2; and 6; jeq 6 0 1; ret eperm; ret allow      | ALLOW          | two bits, one is not set
ld arg4.high; jeq 0xffffffff 0 1; ret eperm; ret allow | ERRNO 1      | half of an argument
ld ip; jeq 0x3456789a 0 1; ret eperm; ret allow      | ERRNO 1        | where the call is made
ld ip.high; jgt 0x7f11 0 1; ret eperm; ret allow     | ERRNO 1        | the upper half of that
ld nr; jge 9 0 1; ret eperm; ret allow               | ERRNO 1        | as large
ld nr; jgt 9 0 1; ret eperm; ret allow               | ALLOW          | not larger
ja 1; ret kill; ret allow                            | ALLOW          | a jump
ldx 9; ld nr; jeqx 0 0 1; ret eperm; ret allow       | ERRNO 1        | beside X
ld arg1; st 3; ldi 0; ldm 3; jeq 0x1000 0 1; ret eperm; ret allow | ERRNO 1 | a cell
ld nr; tax; ldi 0; txa; jeq 9 0 1; ret eperm; ret allow | ERRNO 1     | to X and back
ldx 5; stx 15; ldm 15; add 0x50000; reta             | ERRNO 5        | an answer that was computed
ldlen; add 0x50000; reta                             | ERRNO 64       | the size of what it looks at
ldxlen; txa; add 0x50000; reta                       | ERRNO 64       | the same by X
ldi 1; sub 2; rsh 31; or 0x50000; reta               | ERRNO 1        | numbers wrap at 32 bits
ldi 3; neg; and 0xff; or 0x50000; reta               | ERRNO 253      | a negative one
ldi 0x10001; mul 0x10001; and 0xfffff; or 0x50000; reta | KILL_PROCESS 1 | a product wraps, too
ldi 100; div 7; or 0x50000; reta                     | ERRNO 14       | a quotient
ldi 100; divx; ret allow                             | KILL_THREAD    | a division by 0 ends it
ldx 33; ldi 1; lshx; or 0x50000; reta                | ERRNO 2        | shifts count by five bits
ldx 35; ldi 64; rshx; or 0x50000; reta               | ERRNO 8        | to the right as well
ldi 6; xor 5; or 0x50000; reta                       | ERRNO 3        | one or the other
ldi 1; lsh 4; or 0x50000; reta                       | ERRNO 16       | a shift by a constant
"""

BAD = """
ld nr                    | it runs past its end
ja 7; ret allow          | a jump past the end
ldh 0                    | a load of two bytes
ld 64                    | a load behind the call
ld 2                     | a load from between
ldm 16; ret allow        | a cell that is not there
st 16; ret allow         | the same
mod 3; ret allow         | seccomp knows no remainder
"""

CHAINS = """
allow                    | ALLOW
eperm allow              | ERRNO 1
allow eperm              | ERRNO 1
trace eperm allow        | ERRNO 1
eperm enosys             | ERRNO 38
enosys eperm             | ERRNO 1
0x12340000 eperm         | ERRNO 1
eperm trap               | TRAP
trap kill-thread allow   | KILL_THREAD
kill-thread kill         | KILL_PROCESS
log allow                | LOG
notify trace             | USER_NOTIF
"""


def number(text):
    return WORDS[text] if text in WORDS else int(text, 0)


def assemble(text):
    """Make a filter of `NAME CONSTANT [IF-TRUE IF-FALSE]; …`."""
    program = []
    for line in text.split(";"):
        name, *operands = line.split()
        k, if_true, if_false = [*map(number, operands), 0, 0, 0][:3]
        program.append((CODES[name], if_true, if_false, k))
    return program


def rows(text):
    return [[part.strip() for part in line.split("|")] for line in text.strip().splitlines()]


def answer(text):
    name, *value = text.split()
    return Answer(Action[name], int(value[0]) if value else 0)


@pytest.mark.parametrize(("text", "expected", "_what"), rows(CASES))
def test_what_a_filter_says_of_a_call(text, expected, _what):
    assert ask([assemble(text)], CALL) == answer(expected)


@pytest.mark.parametrize(("text", "_what"), rows(BAD))
def test_what_no_kernel_would_take_is_no_filter(text, _what):
    with pytest.raises(BadFilter):
        run(assemble(text), CALL.packed())


@pytest.mark.parametrize(("text", "expected"), rows(CHAINS))
def test_the_strictest_of_a_chain_wins_and_among_equals_the_newest(text, expected):
    chain = [assemble(f"ret {each}") for each in text.split()]
    assert ask(chain, CALL) == answer(expected)


def test_no_filters_let_everything_through():
    assert ask([], CALL).action.passes


def test_a_filter_is_read_as_it_was_written():
    program = assemble("ld nr; jeq 9 0 1; ret kill; ret allow")
    assert unpack(b"".join(INSTRUCTION.pack(*each) for each in program)) == program


@pytest.mark.parametrize(
    ("word", "said"),
    [(0x50000 | errno.EPERM, "ERRNO EPERM"), (0x50FFF, "ERRNO"), (0, "KILL_THREAD")],
)
def test_answers_are_said_in_words(word, said):
    assert described(Answer.of(word)) == said
