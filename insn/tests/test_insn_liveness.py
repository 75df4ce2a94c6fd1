"""What is dead before an instruction, on small pieces of x86-64 code."""

from itertools import pairwise

import pytest

import insn

FLAGS = frozenset({"of", "sf", "zf", "af", "pf", "cf"})
REGISTERS = frozenset({"rax", "rcx", "rdx", "rsi", "rdi", "r11"})


def dead(code, at=0x1000, **options):
    """Ask about the code at 0x1000 (hexadecimal, instructions apart)."""
    content = bytes.fromhex(code.replace(" ", ""))

    def fetch(address):
        return insn.decode(content[address - 0x1000 :][: len(content)], address)

    return insn.dead_before(at, fetch, REGISTERS, FLAGS, **options)


@pytest.mark.parametrize(
    ("code", "flags"),
    [
        pytest.param("4883ec08 c3", FLAGS, id="sub writes them all"),
        pytest.param("ffc0 c3", FLAGS, id="inc keeps CF, which no caller looks at"),
        pytest.param("ffc0 7300 90 c3", FLAGS - {"cf"}, id="inc, then a jump by CF"),
        pytest.param("7400 4883ec08 c3", FLAGS - {"zf"}, id="a jump by ZF comes first"),
        pytest.param("d3e0 4883ec08 c3", frozenset(), id="what a shift by 0 keeps counts as read"),
        pytest.param("d3e0 9c c3", frozenset(), id="a shift by 0 keeps them, then pushf"),
        pytest.param("9c 4883ec08 c3", frozenset(), id="pushf reads them all"),
        pytest.param("0f05 c3", frozenset(), id="the kernel keeps them across a system call"),
        pytest.param("ffe0", frozenset(), id="an indirect jump leads out of sight"),
        pytest.param("c3", FLAGS, id="nobody looks at them after a return"),
        pytest.param("e800000000 c3", FLAGS, id="nobody looks at them in a called function"),
        pytest.param("7502 ebfc 90 c3", FLAGS - {"zf"}, id="a loop"),
        pytest.param("ebfe", FLAGS, id="a loop without end never looks"),
        pytest.param("90", frozenset(), id="the code ends"),
        pytest.param("06", frozenset(), id="no instruction"),
    ],
)
def test_flags_are_dead_when_every_way_writes_them_before_it_reads_them(code, flags):
    assert dead(code).flags == flags


def test_flags_may_be_passed_through_calls_by_hand_written_code():
    assert dead("c3", flags_across_calls=True).flags == frozenset()
    assert dead("e800000000 c3", flags_across_calls=True).flags == frozenset()
    assert dead("4883ec08 c3", flags_across_calls=True).flags == FLAGS


@pytest.mark.parametrize(
    ("code", "registers"),
    [
        pytest.param("31c0 c3", set(), id="xor reads before it writes"),
        pytest.param("b800000000 c3", {"rax"}, id="32 bits are a whole write"),
        pytest.param("b000 c3", set(), id="8 bits are not"),
        pytest.param("4889c8 b900000000 c3", {"rax"}, id="rcx is read first"),
        pytest.param("0fa2 c3", {"rdx"}, id="cpuid reads rax and rcx"),
        pytest.param("0f44c1 c3", set(), id="a conditional move may not write"),
        pytest.param("7405 b800000000 c3", set(), id="one way writes, the other returns it"),
        pytest.param("7405 b800000000 b801000000 c3", {"rax"}, id="both ways write"),
    ],
)
def test_registers_are_dead_when_every_way_writes_them_before_it_reads_them(code, registers):
    assert dead(code).registers == registers


def test_beyond_the_limit_everything_counts_as_read():
    code = "90" * 10 + "4883ec08 c3"
    assert dead(code, limit=11).flags == FLAGS
    assert dead(code, limit=10).flags == frozenset()


def test_liveness_never_claims_more_for_a_shorter_look():
    code = "90 ffc0 7302 31c0 4889c8 29c8 7400 d3e0 85c0 c3"
    looks = [dead(code, limit=limit) for limit in range(1, 14)]
    for shorter, longer in pairwise(looks):
        assert shorter.flags <= longer.flags
        assert shorter.registers <= longer.registers
