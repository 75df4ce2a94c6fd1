"""The x86 rows against decoders that others wrote: capstone, iced-x86, Zydis and objdump.

A difference is either examined and listed by name (in `x86_differences`, or in `insn.second_known`
for capstone) or a failure. `SEED` and `ROUNDS` in the environment widen the search.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from random import Random

import pytest
from elftools.elf.elffile import ELFFile
from x86_comparison import Comparison
from x86_others import OBJDUMP_LINE
from x86_samples import samples

import insn
from insn import Flow, second
from insn.x86_table import ROWS, candidates

SEED = int(os.environ.get("SEED", "1"))
ROUNDS = int(os.environ.get("ROUNDS", "1"))


@pytest.mark.needs("objdump", package="binutils")
@pytest.mark.parametrize("mode", [64, 32, 16])
def test_every_row_is_read_as_four_decoders_read_it_or_the_difference_is_listed(
    zydis, mode, tmp_path
):
    comparison = Comparison(mode, zydis, tmp_path)
    found = list(samples(Random(SEED), 3 * ROUNDS, [mode]))
    comparison.read([instruction.code for instruction in found], 1_000 * ROUNDS)
    comparison.check()


@pytest.mark.slow
def test_there_are_samples_of_every_row():
    seen = {instruction.detail.row.number for instruction in samples(Random(SEED), 4, [64, 32])}
    assert [row.names[0] for row in ROWS if row.number not in seen] == []


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


def pieces(path, limit):
    """Cut a program's text into instructions, by the rows; what is none stays a piece, too."""
    _, code = text_of(path)
    found, offset = set(), 0
    while offset < min(len(code), limit):
        piece = code[offset : offset + 15]
        try:
            piece = insn.X86_64.decode(piece, 0x1000).code
            offset += len(piece)
        except insn.InsnError:
            offset += 1
        found.add(piece)
    return found


def compare_texts(zydis, paths, limit, folder, objdump_asked=None):
    """Compare the pieces of several programs' text; return how many different ones there were."""
    found = sorted(set().union(*(pieces(path, limit) for path in paths)))
    comparison = Comparison(64, zydis, folder)
    comparison.read(found, objdump_asked)
    comparison.check()
    return comparison.instructions


@pytest.mark.needs("objdump", package="binutils")
def test_the_text_of_two_programs_is_read_as_four_decoders_read_it(zydis, tmp_path):
    assert compare_texts(zydis, programs(2), 30_000, tmp_path, 1_000) > 4_000


@pytest.mark.torture
@pytest.mark.needs("objdump", package="binutils")
def test_the_text_of_twenty_four_programs_is_read_as_four_decoders_read_it(zydis, tmp_path):
    chosen = programs(24)
    assert len(chosen) == 24
    assert compare_texts(zydis, chosen, 1 << 20, tmp_path) > 200_000
