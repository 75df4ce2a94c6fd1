"""Emulated x86 instructions: the corpus, and that nothing changes when memory refuses."""

from random import Random

import pytest
from insn_corpus import cases
from x86_samples import samples

import insn

START = 0x1000


class Missing(Exception):
    """What this test's memory raises for an address that is not there."""


class Bytes:
    """Memory in a dictionary; `absent` holds addresses that are not there."""

    def __init__(self, content=(), absent=None):
        self.content = dict(content)
        self.absent = absent or set()

    def read(self, address, size):
        return bytes(self.at(address + n) for n in range(size))

    def write(self, address, code):
        for n, byte in enumerate(code):
            self.at(address + n)
            self.content[address + n] = byte

    def at(self, address):
        if address in self.absent:
            raise Missing(hex(address))
        return self.content.get(address, 0)


def numbers(text):
    """Read `name=hex …`."""
    return {name: int(value, 16) for name, value in (pair.split("=") for pair in text.split())}


def memory(text):
    """Read `address:bytes …`."""
    found = {}
    for pair in text.split():
        address, content = pair.split(":")
        for n, byte in enumerate(bytes.fromhex(content)):
            found[int(address, 16) + n] = byte
    return found


def state_of(arch, text):
    registers = dict.fromkeys(arch.registers, 0)
    registers[arch.program_counter] = START
    registers.update(numbers(text))
    return registers


def case_of(columns):
    name, code, before, memory_before, after, memory_after = columns
    arch = insn.arch(name)
    instruction = insn.decode(bytes.fromhex(code), START, arch)
    return arch, instruction, before, memory(memory_before), numbers(after), memory(memory_after)


@pytest.mark.parametrize("case", cases("emulate_x86.txt"))
def test_an_emulated_instruction_does_what_the_corpus_says(case):
    arch, instruction, before, content, after, written = case_of(case)
    registers = state_of(arch, before)
    expected = registers | after
    space = Bytes(content)
    insn.emulate(instruction, registers, space)
    assert {k: hex(v) for k, v in registers.items()} == {k: hex(v) for k, v in expected.items()}
    assert space.content == content | written
    assert insn.judge(instruction).allows(insn.Method.EMULATE)


@pytest.mark.parametrize("case", cases("emulate_x86.txt"))
def test_nothing_changes_and_the_error_passes_through_when_memory_is_not_there(case):
    arch, instruction, before, content, _, written = case_of(case)
    if not content and not written:
        return
    for absent in (range(1 << 64), set(written) - set(content)):
        if not absent:
            continue
        registers = state_of(arch, before)
        untouched = dict(registers)
        space = Bytes(content, absent)
        with pytest.raises(Missing):
            insn.emulate(instruction, registers, space)
        assert registers == untouched
        assert space.content == content


@pytest.mark.parametrize("case", cases("emulate_x86.txt"))
def test_what_only_moves_the_program_counter_is_known_beforehand(case):
    arch, instruction, _, content, after, written = case_of(case)
    if insn.only_moves_ip(instruction):
        assert set(after) == {arch.program_counter}
        assert not written
        assert not content
    else:
        names = set(after) - {arch.program_counter}
        assert names or written or instruction.flow.value.startswith("indirect")


def test_the_verdict_allows_emulation_exactly_where_an_emulator_can_be_made():
    allowed = 0
    for instruction in samples(Random(1), 2):
        try:
            insn.emulator(instruction)
            made = True
        except insn.NotEmulable:
            made = False
        assert made == insn.judge(instruction).allows(insn.Method.EMULATE), instruction
        allowed += made
    assert allowed > 300


def test_an_emulator_touches_only_the_registers_that_the_instruction_reads_and_writes():
    class Watched(dict):
        def __getitem__(self, name):
            touched.add(name)
            return super().__getitem__(name)

        def __setitem__(self, name, value):
            written.add(name)
            super().__setitem__(name, value)

    counted = 0
    for instruction in samples(Random(2), 4, modes=(64, 32)):
        if not insn.judge(instruction).allows(insn.Method.EMULATE):
            continue
        counted += 1
        arch = instruction.arch
        registers = Watched(dict.fromkeys(arch.registers, 0x2000))
        touched, written = set(), set()
        insn.emulate(instruction, registers, Bytes())
        special = {arch.program_counter, arch.flags}
        assert written - special <= instruction.writes, instruction
        assert touched - special <= instruction.reads, instruction
    assert counted > 300


def test_what_cannot_be_emulated_says_so_and_what_to_do():
    instruction = insn.decode(bytes.fromhex("0fa2"), START)
    with pytest.raises(insn.NotEmulable, match=r"cpuid.*use boost or step"):
        insn.emulator(instruction)
