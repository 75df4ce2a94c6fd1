"""The x86 rows against decoders that others wrote: capstone, iced-x86 and objdump.

A difference is either examined and listed by name (here, or in `insn.second_known` for capstone)
or a failure. `SEED` and `ROUNDS` in the environment widen the search.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from random import Random

import iced_x86
import pytest
from elftools.elf.elffile import ELFFile
from x86_samples import ARCHES, samples

import insn
from insn import Flow, second
from insn.x86_table import ROWS, candidates

SEED = int(os.environ.get("SEED", "1"))
ROUNDS = int(os.environ.get("ROUNDS", "1"))

ICED_FLOWS = {
    iced_x86.FlowControl.NEXT: Flow.NEXT,
    iced_x86.FlowControl.UNCONDITIONAL_BRANCH: Flow.JUMP,
    iced_x86.FlowControl.CONDITIONAL_BRANCH: Flow.CONDITIONAL_JUMP,
    iced_x86.FlowControl.INDIRECT_BRANCH: Flow.INDIRECT_JUMP,
    iced_x86.FlowControl.CALL: Flow.CALL,
    iced_x86.FlowControl.INDIRECT_CALL: Flow.INDIRECT_CALL,
    iced_x86.FlowControl.RETURN: Flow.RETURN,
    iced_x86.FlowControl.INTERRUPT: Flow.TRAP,
    iced_x86.FlowControl.EXCEPTION: Flow.TRAP,
}

# What iced-x86 1.21 does not decode, and why the rows do.
NOT_IN_ICED = {
    "urdmsr": "added to the CPUs later",
    "uwrmsr": "added to the CPUs later",
    "jmpabs": "APX",
    "apx": "APX",
    "montmul": "VIA only: iced wants rm = 0 and no address-size prefix",
}
# What iced-x86 describes as a flow of its own, apart from everything that is refused anyway.
OTHER_FLOWS = {"xabort", "xend"}


def iced(instruction, mode):
    decoder = iced_x86.Decoder(mode, instruction.code, ip=instruction.address)
    return decoder.decode()


def random_bytes(random):
    """Make bytes that are often an instruction: prefixes and escapes are likelier than chance."""
    body = random.randbytes(15)
    kind = random.random()
    prefixes = bytes(
        random.choices(b"\x66\xf2\xf3\x67\x2e\x64\xf0\x48\x41\x4f\x40", k=random.randrange(4))
    )
    if kind < 0.2:
        return (prefixes + body)[:15]
    if kind < 0.5:
        escape = random.choice((b"\x0f", b"\x0f", b"\x0f\x38", b"\x0f\x3a"))
        return (prefixes + escape + body)[:15]
    if kind < 0.65:
        return (bytes((0xC4, random.choice(b"\xe1\xe2\xe3\xc1\x62\xa3"))) + body)[:15]
    if kind < 0.9:
        escape = bytes(
            (0x62, random.choice(b"\xf1\xf2\xf3\xf5\xf6\xe1\xd2\xb3"), random.randrange(256) | 4)
        )
        return (escape + body)[:15]
    return (random.choice((b"\xc5", b"\x8f\xe8", b"\x8f\xe9", b"\x8f\xea")) + body)[:15]


@pytest.mark.parametrize("mode", [64, 32, 16])
def test_random_bytes_are_read_as_iced_reads_them(mode):
    compare_random_bytes(mode, 20_000 * ROUNDS)


@pytest.mark.torture
@pytest.mark.parametrize("mode", [64, 32, 16])
def test_ten_million_random_byte_strings_are_read_as_iced_reads_them(mode):
    compare_random_bytes(mode, 3_400_000)


def compare_random_bytes(mode, count):
    random = Random(SEED)
    agreed = 0
    for _ in range(count):
        code = random_bytes(random)
        decoder = iced_x86.Decoder(mode, code, ip=0x1000)
        theirs = decoder.decode()
        try:
            ours = ARCHES[mode].decode(code, 0x1000)
        except insn.Truncated:
            assert theirs.is_invalid, code.hex()
            continue
        except insn.Undecodable:
            assert theirs.is_invalid, code.hex()
            continue
        if ours.detail.apx or ours.name in NOT_IN_ICED:
            continue
        assert not theirs.is_invalid, code.hex()
        assert ours.length == theirs.len, code.hex()
        check_flow_and_targets(ours, theirs)
        agreed += 1
    assert agreed > count // 5


def check_flow_and_targets(ours, theirs):
    flow = ICED_FLOWS.get(theirs.flow_control)
    assert ours.flow is flow or ours.name in OTHER_FLOWS or ours.detail.row.refusal, ours
    if ours.target is not None:
        assert ours.target == theirs.near_branch_target, ours
    elif ours.pc_relative is not None:
        assert ours.pc_relative.target == theirs.ip_rel_memory_address, ours
    else:
        assert not theirs.is_ip_rel_memory_operand, ours


def test_every_row_is_read_as_iced_reads_it():
    seen = set()
    for ours in samples(Random(SEED), 4 * ROUNDS):
        if ours.detail.apx or ours.name in NOT_IN_ICED:
            continue
        theirs = iced(ours, ours.detail.mode)
        assert theirs.len == ours.length, ours
        assert not theirs.is_invalid, ours
        check_flow_and_targets(ours, theirs)
        seen.add(ours.detail.row.number)
    missed = [
        row.names[0] for row in ROWS if row.number not in seen and row.names[0] not in NOT_IN_ICED
    ]
    assert missed == [], "no sample was made of these rows"


def test_every_row_is_read_as_capstone_reads_it_or_the_difference_is_listed():
    for instruction in samples(Random(SEED + 1), 3 * ROUNDS):
        second.compare(instruction)


def test_a_difference_that_is_not_listed_is_refused():
    instruction = insn.decode(b"\x48\x89\xe5", 0x1000)
    shorter = type(instruction)(
        instruction.address, b"\x89\xe5\x48", instruction.arch, "mov", Flow.NEXT,
        detail=instruction.detail,
    )  # fmt: skip
    with pytest.raises(insn.DecodersDisagree, match="capstone reads 2 bytes"):
        second.compare(shorter)


def test_the_rows_alone_decide_without_capstone():
    script = (
        "import sys; sys.modules['capstone'] = None\n"
        "import insn\n"
        "assert insn.second_decoder() is None\n"
        "found = insn.decode(bytes.fromhex('4889e5'), 0x1000)\n"
        "print(found.text, found.length)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "mov 3\n"


def test_importing_the_package_loads_neither_numpy_nor_capstone():
    heavy = ("numpy", "capstone", "elftools")
    script = f"import sys, insn; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_all_rows_of_an_opcode_agree_on_having_a_modrm_byte():
    for cell in candidates:
        assert len({row.has_modrm for row in cell}) <= 1, cell


# --- objdump

# Bytes in text sections that objdump names but that are no instruction, or prefixes that it lists
# by themselves.
OBJDUMP_LINE = re.compile(r"^\s*([0-9a-f]+):\t((?:[0-9a-f]{2} )+)\s*\t?(.*)$")
PYTHON = Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME") or "")
NAMES = (PYTHON if PYTHON.is_file() else sys.executable, "gdb", "openssl", "gzip", "ld", "sort")
BINARIES = sorted({os.path.realpath(path) for name in NAMES if (path := shutil.which(name))})


def text_of(path):
    with open(path, "rb") as file:
        section = ELFFile(file).get_section_by_name(".text")
        return section["sh_addr"], section.data()


def objdump_boundaries(path, start, stop):
    """Yield (address, bytes, text) as objdump -d gives them."""
    command = ["objdump", "-d", "-w", "-z", "--insn-width=15", "-j", ".text"]
    command += [f"--start-address={start}", f"--stop-address={stop}", path]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        if found := OBJDUMP_LINE.match(line):
            yield int(found[1], 16), bytes.fromhex(found[2]), found[3].strip()


@pytest.mark.parametrize("path", BINARIES)
def test_the_text_of_a_program_is_cut_as_objdump_cuts_it(path):
    start, code = text_of(path)
    stop = start + min(60_000 * ROUNDS, len(code))
    counted = 0
    for address, piece, text in objdump_boundaries(path, start, stop):
        if "(bad)" in text or not text:
            continue
        if address + 15 > stop:
            break  # objdump cuts the last instruction into prefixes
        instruction = insn.X86_64.decode(code[address - start : address - start + 15], address)
        if instruction.flow is Flow.TRAP and instruction.name in ("ud0", "ud1"):
            continue
        assert instruction.code == piece, (hex(address), text)
        counted += 1
    assert counted > 1_000


def test_there_are_programs_to_compare_with():
    assert len(BINARIES) >= 2


# --- the text of many programs


def programs(count):
    """List the largest ELF files of /usr/bin."""
    found = []
    for path in Path("/usr/bin").iterdir():
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    found.append((path.stat().st_size, path))
    return [path for _, path in sorted(found, reverse=True)[:count]]


def compare_text(path, limit):
    """Compare every instruction of a program's text with capstone and iced; return how many."""
    start, code = text_of(path)
    seen, offset = set(), 0
    end = min(len(code), limit)
    while offset < end:
        try:
            ours = insn.X86_64.decode(code[offset : offset + 15], start + offset)
        except insn.InsnError:
            offset += 1
            continue
        offset += ours.length
        if ours.code in seen:
            continue
        seen.add(ours.code)
        second.compare(ours)
        if ours.detail.apx or ours.name in NOT_IN_ICED:
            continue
        theirs = iced(ours, 64)
        assert theirs.len == ours.length, ours
        assert not theirs.is_invalid, ours
        check_flow_and_targets(ours, theirs)
    return len(seen)


def test_the_text_of_two_programs_is_read_as_capstone_and_iced_read_it():
    assert sum(compare_text(path, 40_000) for path in programs(2)) > 4_000


@pytest.mark.torture
def test_the_text_of_twenty_programs_is_read_as_capstone_and_iced_read_it():
    chosen = programs(20)
    assert len(chosen) == 20
    assert sum(compare_text(path, 1 << 20) for path in chosen) > 200_000
