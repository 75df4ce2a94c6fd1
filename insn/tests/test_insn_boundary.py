"""Is an address the start of an instruction?"""

from pathlib import Path

import pytest
from elf_files import Elf, Symbol

from insn import X86_64, Boundary, boundaries, open_image

LIBC = Path("/usr/lib/x86_64-linux-gnu/libc.so.6")
# push rbp; mov rbp,rsp; je +1; lock cmpxchg [rdi],esi; pop rbp; ret
CODE = bytes.fromhex("55 48 89 e5 74 01 f0 0f b1 37 5d c3")
STARTS = {0, 1, 4, 6, 7, 10, 11}


def test_each_offset_of_a_function_is_proved_or_disproved():
    found = boundaries(CODE, range(0x1000, 0x1000 + len(CODE)), 0x1000, X86_64)
    proved = {verdict.address - 0x1000 for verdict in found if verdict.proved}
    # 7 is behind the LOCK prefix: the branch at 4 goes there.
    assert proved == STARTS
    assert all(v.boundary is Boundary.DISPROVED for v in found if v.address - 0x1000 not in STARTS)


def test_the_instruction_around_a_disproved_address_is_given():
    (verdict,) = boundaries(CODE, 0x1003, 0x1000)
    assert verdict.inside is not None
    assert (verdict.inside.address, verdict.inside.length) == (0x1001, 3)


def test_addresses_outside_of_the_code_are_unknown():
    assert [v.boundary for v in boundaries(CODE, [0xFFF, 0x100C], 0x1000)] == [Boundary.UNKNOWN] * 2


def test_what_follows_bytes_that_are_no_instruction_is_unknown():
    code = bytes.fromhex("eb 02 06 06 90 c3")
    found = boundaries(code, [0, 2, 4, 5])
    assert [v.boundary for v in found] == [
        Boundary.PROVED,
        Boundary.UNKNOWN,
        Boundary.PROVED,  # the jump goes there
        Boundary.UNKNOWN,
    ]


def test_in_a_file_functions_are_where_decoding_begins():
    image = open_image(Elf(code=b"\x06" + CODE, symbols=[Symbol("f", 0x401001, len(CODE))]).build())
    found = boundaries(image, [0x401000, 0x401001, 0x401002, 0x401003])
    assert [v.boundary for v in found] == [
        Boundary.UNKNOWN,  # no function contains it
        Boundary.PROVED,
        Boundary.PROVED,
        Boundary.DISPROVED,
    ]
    assert found[3].function == 0x401001


def test_a_symbol_that_promises_more_than_the_file_has_is_no_error():
    image = open_image(Elf(code=CODE, symbols=[Symbol("f", 0x401000, 1 << 40)]).build())
    assert [v.proved for v in boundaries(image, [0x401001, 0x401002])] == [True, False]
    assert boundaries(image, 0x401000 + 4096)[0].boundary is Boundary.UNKNOWN


@pytest.mark.parametrize("name", ["malloc", "qsort", "fopen"])
def test_every_instruction_that_a_disassembler_lists_is_proved(name):
    capstone = pytest.importorskip("capstone")
    image = open_image(LIBC)
    (symbol,) = {(s.address, s.size) for s in image.find(name)}
    code = image.read(*symbol)
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    starts = [address for address, *_ in decoder.disasm_lite(code, symbol[0])]
    assert all(verdict.proved for verdict in boundaries(image, starts))
    others = sorted(set(range(symbol[0], symbol[0] + symbol[1])) - set(starts))
    assert not any(verdict.proved for verdict in boundaries(image, others))
