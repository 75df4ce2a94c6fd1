"""What is dead before many instructions at once: small pieces of code, and real files."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
from elf_files import FUNCTION, Elf, Symbol
from x86_samples import samples

import insn
from insn import open_image
from insn.bulk_liveness import Liveness
from insn.survey import entries
from insn.targets import CodeMap
from insn.window import Windows
from insn.x86_uses import WIDTH, X86Uses, bits_of

SYSTEM = Path("/usr/lib/x86_64-linux-gnu")
FILES = [SYSTEM / "libc.so.6", SYSTEM / "libcrypto.so.3", Path("/usr/bin/python3")]
BASE = 0x401000
FLAGS = frozenset({"of", "sf", "zf", "af", "pf", "cf"})
SCRATCH = frozenset({"rax", "rcx", "rdx", "rsi", "rdi", "r11"})


def liveness_of(*functions):
    """Functions of these bytes, one behind the other."""
    symbols, code = [], b""
    for number, text in enumerate(functions):
        piece = bytes.fromhex(text)
        symbols.append(Symbol(f"f{number}", BASE + len(code), len(piece), FUNCTION))
        code += piece
    return Liveness(CodeMap(open_image(Elf(code=code.ljust(64, b"\xcc"), symbols=symbols).build())))


def dead(liveness, offset=0, **options):
    (bits,) = liveness.dead([BASE + offset], **options).tolist()
    return liveness.named(bits)


# Inside a function: the first byte is a NOP, and asked is what follows.
@pytest.mark.parametrize(
    ("code", "flags"),
    [
        pytest.param("4883ec08 c3", FLAGS, id="sub writes them all"),
        pytest.param("ffc0 c3", FLAGS, id="inc keeps CF, which no caller looks at"),
        pytest.param("ffc0 7300 90 c3", FLAGS - {"cf"}, id="inc, then a jump by CF"),
        pytest.param("7400 4883ec08 c3", FLAGS - {"zf"}, id="a jump by ZF comes first"),
        pytest.param("d3e0 4883ec08 c3", frozenset(), id="what a shift by 0 keeps counts as read"),
        pytest.param("c1e004 9c c3", FLAGS, id="a shift by 4 writes them all"),
        pytest.param("c1e000 9c c3", frozenset(), id="a shift by a constant 0 keeps them"),
        pytest.param("c1e020 9c c3", frozenset(), id="a shift of 32 bits by 32 does"),
        pytest.param("48c1e020 9c c3", FLAGS, id="one of 64 bits does not"),
        pytest.param("c1c004 9c c3", {"cf", "of"}, id="a rotation writes two of them"),
        pytest.param("c1d004 9c c3", frozenset(), id="a rotation through the carry reads it"),
        pytest.param("9c 4883ec08 c3", frozenset(), id="pushf reads them all"),
        pytest.param("0f05 c3", frozenset(), id="the kernel keeps them across a system call"),
        pytest.param("ffe0", frozenset(), id="an indirect jump leads out of sight"),
        pytest.param("c3", FLAGS, id="nobody looks at them after a return"),
        pytest.param("ffd0 c3", FLAGS, id="nobody looks at them in a function called by address"),
        pytest.param("06", frozenset(), id="no instruction"),
        pytest.param("7502 ebfc 90 c3", FLAGS - {"zf"}, id="a loop"),
    ],
)
def test_flags_are_dead_when_every_way_writes_them_before_it_reads_them(code, flags):
    assert dead(liveness_of("90" + code), 1).flags == flags


@pytest.mark.parametrize(
    ("code", "registers"),
    [
        pytest.param("31c0 c3", set(), id="xor reads before it writes"),
        pytest.param("b800000000 c3", {"rax"}, id="32 bits are a whole write"),
        pytest.param("b000 c3", set(), id="8 bits are not"),
        pytest.param("41b800000000 c3", {"r8"}, id="a register of the opcode, extended"),
        pytest.param("41b000 c3", set(), id="8 bits of it"),
        pytest.param("4889c8 b900000000 c3", {"rax"}, id="rcx is read first"),
        pytest.param("88e8 b900000000 c3", set(), id="ch is a part of rcx"),
        pytest.param("4088e8 bd00000000 b900000000 c3", {"rcx"}, id="bpl is a part of rbp"),
        pytest.param("488b05000000 00 c3", {"rax"}, id="the base is the program counter"),
        pytest.param("488b042500000000 bd00000000 c3", {"rax", "rbp"}, id="no base, no index"),
        pytest.param("488b442500 bd00000000 c3", {"rax"}, id="a base behind SIB"),
        pytest.param("4a8b0420 41bc00000000 b801000000 c3", set(), id="r12 is an index"),
        pytest.param("0fa2 c3", {"rdx", "rbx"}, id="cpuid reads rax and rcx"),
        pytest.param("0f44c1 c3", set(), id="a conditional move may not write"),
        pytest.param("7405 b800000000 c3", set(), id="one way writes, the other returns it"),
        pytest.param("7405 b800000000 b801000000 c3", {"rax"}, id="both ways write"),
        pytest.param("e800000000 b800000000 c3", set(), id="a call may take any register"),
        pytest.param("c5f877 b800000000 c3", {"rax"}, id="a vector instruction before"),
        pytest.param("bc00000000 c3", set(), id="the stack pointer is never dead"),
    ],
)
def test_registers_are_dead_when_every_way_writes_them_before_it_reads_them(code, registers):
    assert dead(liveness_of("90" + code), 1).registers == registers


def test_no_function_is_passed_flags_unless_it_reads_them():
    liveness = liveness_of("b800000000 0f05 c3")  # system call 0
    assert dead(liveness).flags == FLAGS
    assert dead(liveness, conventions=False).flags == frozenset()
    assert dead(liveness_of("90 7200 90 c3")).flags == FLAGS - {"cf"}


def test_a_call_of_a_function_that_reads_flags_passes_them():
    # f0: nop; call f1; ret     f1: adc rax, rax; ret
    liveness = liveness_of("90 e801000000 c3", "4811c0 c3")
    assert dead(liveness, 0).flags == FLAGS - {"cf"}
    assert dead(liveness, 1).flags == FLAGS - {"cf"}
    assert dead(liveness_of("90 e801000000 c3", "4801c0 c3"), 0).flags == FLAGS


def test_what_a_conditional_jump_leads_to_is_no_function_with_a_convention():
    # f0: cmp edi, edi; je f1; ret     f1: jmp rax: who knows what it looks at
    liveness = liveness_of("39ff 7401 c3", "ffe0")
    assert dead(liveness, 5).flags == frozenset()


def test_flags_may_be_passed_through_calls_by_hand_written_code():
    for code in ("90 c3", "90 e800000000 c3", "90 ffd0 c3"):
        assert dead(liveness_of(code), 1, flags_across_calls=True).flags == frozenset()
    assert dead(liveness_of("90 4883ec08 c3"), 1, flags_across_calls=True).flags == FLAGS


def test_where_no_instruction_is_known_nothing_is_dead():
    liveness = liveness_of("4889e5 c3")
    for offset in (1, 2, 4096, -8):
        found = dead(liveness, offset)
        assert not found.registers
        assert not found.flags
    assert len(liveness.dead([])) == 0


def test_a_long_way_leads_out_of_sight():
    assert "rax" in dead(liveness_of("90" * 20 + "b800000000 c3")).registers
    assert "rax" not in dead(liveness_of("90" * 40 + "b800000000 c3")).registers


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_more_is_dead_than_when_each_site_is_followed_by_itself(path):
    code = CodeMap(open_image(path))
    liveness = Liveness(code)
    generator = np.random.default_rng(3)
    every = code.instructions["address"][code.instructions["length"] > 0]
    sites = np.concatenate([generator.choice(every, 300), generator.choice(code.functions, 100)])
    registers, flags = frozenset(liveness.registers), frozenset(liveness.flags)
    found = liveness.dead(sites, conventions=False).tolist()
    same = 0
    for address, bits in zip(sites.tolist(), found, strict=True):
        alone = insn.dead_before(address, code.image.instruction_at, registers, flags, limit=2000)
        together = liveness.named(bits)
        assert together.registers <= alone.registers, hex(address)
        assert together.flags <= alone.flags, hex(address)
        same += together.registers == alone.registers - {"rsp"}
    assert same > 0.9 * len(sites)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_flags_are_dead_at_nearly_all_functions(path):
    windows = Windows(open_image(path))
    found = windows.dead(entries(windows.map.image, windows.map).addresses)
    assert sum(each.flags == FLAGS for each in found) > 0.97 * len(found)
    assert sum("rax" in each.registers for each in found) > 0.3 * len(found)


def agrees(arch, codes):
    """Compare what is found for all at once with what is decoded one by one."""
    rows = np.zeros((len(codes), WIDTH), np.uint8)
    for row, code in zip(rows, codes, strict=True):
        row[: len(code)] = list(code)
    lengths = np.array([len(code) for code in codes], np.uint8)
    for _ in range(2):  # what was learned is used the second time
        reads, writes = (found.tolist() for found in arch_uses[arch.name].find(rows, lengths))
        for code, read, written in zip(codes, reads, writes, strict=True):
            alone = arch.decode(code, 0)
            assert read == bits_of(arch, alone.reads, alone.flags_read), (code.hex(), alone)
            assert written == bits_of(arch, alone.writes, alone.flags_written), (code.hex(), alone)


arch_uses = {name: X86Uses(insn.arch(name)) for name in ("x86_64", "x86_32", "x86_16")}


@pytest.mark.parametrize("name", arch_uses)
def test_registers_and_flags_are_those_that_decode_names(name):
    arch = insn.arch(name)
    chosen = [instruction.code for instruction in samples(Random(9), 4, modes=(arch.bits,))]
    assert len(chosen) > 3000
    agrees(arch, chosen)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_they_are_in_real_files_too(path):
    code = CodeMap(open_image(path))
    records = code.instructions[code.instructions["length"] > 0]
    some = np.random.default_rng(4).choice(records, 6000, replace=False)
    image = code.image
    agrees(image.arch, [image.read(int(r["address"]), int(r["length"])) for r in some])


@pytest.mark.parametrize("name", arch_uses)
def test_they_are_for_random_bytes_too(name):
    arch, random, chosen = insn.arch(name), Random(5), []
    prefixes = [0x66, 0x67, 0xF2, 0xF3, 0x2E, 0x64, 0xF0, 0x40, 0x41, 0x48, 0x4F, 0x45]
    while len(chosen) < 6000:
        code = bytes(random.choice(prefixes) for _ in range(random.randrange(4)))
        code += random.choice((b"", b"\x0f")) + random.randbytes(15)
        try:
            chosen.append(arch.decode(code[:15], 0).code)
        except insn.InsnError:
            continue
    agrees(arch, chosen)
