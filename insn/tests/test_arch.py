"""The list of architectures and what their records promise."""

import pytest

import insn
from insn.arch import names


def test_every_architecture_is_found_by_its_name():
    for name in names():
        assert insn.arch(name).name == name


@pytest.mark.parametrize(
    ("alias", "name"), [("amd64", "x86_64"), ("X86-64", "x86_64"), ("i686", "x86_32")]
)
def test_usual_aliases_are_known(alias, name):
    assert insn.arch(alias) is insn.arch(name)


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(insn.UnknownArchitecture, match=r"'vax'.*x86_64") as caught:
        insn.arch("vax")
    assert caught.value.code == "unknown-architecture"


@pytest.mark.parametrize("name", names())
def test_the_registers_of_a_record_include_those_it_names(name):
    arch = insn.arch(name)
    assert {arch.program_counter, arch.stack_pointer, arch.flags} <= set(arch.registers)
    assert len(set(arch.registers)) == len(arch.registers)


@pytest.mark.parametrize("name", names())
def test_the_breakpoint_is_a_trap_of_the_architecture(name):
    arch = insn.arch(name)
    instruction = arch.decode(arch.breakpoint, 0x1000)
    assert instruction.flow is insn.Flow.TRAP
    assert arch.trap_advance in (0, instruction.length)
    assert not insn.judge(instruction).probeable
