"""ELF files: what is found in good ones, and that bad ones raise only the package's own errors."""

import gc
import os
import random
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from elf_files import (
    AARCH64,
    CORE,
    EXECUTABLE,
    FUNCTION,
    I386,
    INDIRECT,
    LOCAL,
    OBJECT,
    OBJECT_FILE,
    WEAK,
    Elf,
    Symbol,
    frame_table,
    lsda,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from insn import InsnError, MalformedFile, UnknownArchitecture, open_image
from insn.headers import FileKind
from insn.survey import entries
from insn.symbols import Binding, SymbolKind

LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
LIBC, LIBCRYPTO, LIBSTDCXX = (
    LIBRARIES / n for n in ("libc.so.6", "libcrypto.so.3", "libstdc++.so.6")
)
PYTHON, GZIP = Path("/usr/bin/python3"), Path("/bin/gzip")
SYSTEM_FILES = [path for path in (LIBC, LIBCRYPTO, LIBSTDCXX, PYTHON, GZIP) if path.exists()]


def readelf(*options: str) -> str:
    # It complains, with a failing exit code, about debug files that are not installed.
    command = ["readelf", "-W", *options]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert output
    return output


# What is in a file.


def test_code_symbols_and_headers_of_a_small_file_are_read():
    image = open_image(
        Elf(
            code=b"\x90" * 16 + b"\xc3",
            symbols=[Symbol("main", 0x401000, 16), Symbol("table", 0x500000, 8, OBJECT)],
            data=b"12345678",
            entry=0x401000,
            build_id=bytes.fromhex("00112233445566778899"),
        ).build()
    )
    assert image.arch.name == "x86_64"
    assert image.kind is FileKind.SHARED
    assert image.entry == 0x401000
    assert image.build_id == "00112233445566778899"
    assert [(s.name, s.address, s.code) for s in image.text] == [
        (".text", 0x401000, b"\x90" * 16 + b"\xc3")
    ]
    assert [symbol.name for symbol in image.functions] == ["main"]
    assert [symbol.name for symbol in image.symbols] == ["main", "table"]
    assert image.executable(0x401010)
    assert not image.executable(0x500000)
    assert image.read(0x500002, 100) == b"345678"


def test_addresses_and_file_offsets_are_translated_both_ways():
    image = open_image(Elf(code=b"\x90" * 32).build())
    offset = image.offset_of(0x401008)
    assert offset is not None
    assert image.address_of(offset) == 0x401008
    assert image.offset_of(0x401020) is None
    assert image.address_of(1 << 40) is None


@pytest.mark.parametrize("bits", [32, 64])
def test_both_classes_of_files_are_read(bits):
    machine = I386 if bits == 32 else 62
    image = open_image(Elf(bits=bits, machine=machine, symbols=[Symbol("f", 0x401000, 1)]).build())
    assert image.arch.bits == bits
    assert image.find("f")[0].address == 0x401000


def test_kind_and_binding_of_symbols_are_told():
    image = open_image(
        Elf(
            code=b"\x90" * 64,
            symbols=[
                Symbol("a", 0x401000, 4, FUNCTION, LOCAL),
                Symbol("b", 0x401010, 4, INDIRECT, WEAK),
                Symbol("gone", 0, 0, defined=False),
            ],
        ).build()
    )
    assert [(s.name, s.kind, s.binding) for s in image.functions] == [
        ("a", SymbolKind.FUNCTION, Binding.LOCAL),
        ("b", SymbolKind.INDIRECT_FUNCTION, Binding.WEAK),
    ]


def test_of_several_names_the_most_public_one_stands_first():
    image = open_image(
        Elf(
            code=b"\x90" * 16,
            symbols=[
                Symbol("local", 0x401000, 16, FUNCTION, LOCAL),
                Symbol("weak", 0x401000, 16, FUNCTION, WEAK),
                Symbol("public", 0x401000, 16),
            ],
        ).build()
    )
    assert [symbol.name for symbol in image.functions] == ["public", "weak", "local"]
    found = image.function_at(0x40100F)
    assert found is not None
    assert found.name == "public"
    assert entries(image).names == ["public"]


def test_the_innermost_of_nested_functions_is_found():
    image = open_image(
        Elf(
            code=b"\x90" * 64, symbols=[Symbol("outer", 0x401000, 64), Symbol("inner", 0x401010, 8)]
        ).build()
    )
    names = [image.function_at(0x401000 + n).name for n in (0x0F, 0x10, 0x17, 0x18, 0x3F)]
    assert names == ["outer", "inner", "inner", "outer", "outer"]
    assert image.function_at(0x401040) is None


def test_a_symbol_in_both_tables_is_kept_once_and_versions_are_cut_off():
    image = open_image(
        Elf(
            symbols=[Symbol("f@@V2", 0x401000, 1), Symbol("only", 0x401000, 1)],
            dynamic_symbols=[Symbol("f", 0x401000, 1)],
        ).build()
    )
    assert sorted(symbol.name for symbol in image.functions) == ["f", "only"]


def test_functions_share_a_name_only_when_they_are_different_functions():
    image = open_image(
        Elf(
            code=b"\x90" * 32,
            symbols=[
                Symbol("f", 0x401000, 4, binding=LOCAL),
                Symbol("f", 0x401010, 4, binding=LOCAL),
            ],
        ).build()
    )
    assert [symbol.address for symbol in image.find("f")] == [0x401000, 0x401010]
    assert image.find("g") == ()


def test_names_that_look_alike_are_offered():
    symbols = [Symbol(name, 0x401000, 1) for name in ("malloc", "calloc", "MALLOC_trim", "free")]
    functions = open_image(Elf(symbols=symbols).build()).functions
    assert functions.similar("mallocc")[0] == "malloc"
    assert functions.similar("FREE") == ["free"]
    assert functions.similar("qqqqqq") == []


def test_patterns_choose_names():
    symbols = [Symbol(name, 0x401000, 1) for name in ("strlen", "strcpy", "memcpy")]
    functions = open_image(Elf(symbols=symbols).build()).functions
    assert sorted(functions.names[i] for i in functions.matching("str*")) == ["strcpy", "strlen"]
    assert sorted(functions.names[i] for i in functions.matching("*[ml]??")) == ["strlen"]


def test_functions_are_found_by_unwind_entries_where_no_symbols_are():
    frames = frame_table(0x600000, [(0x401010, 8, 0), (0x401000, 16, 0)])
    image = open_image(Elf(code=b"\x90" * 24, eh_frame=frames).build())
    assert image.frames.starts.tolist() == [0x401000, 0x401010]
    assert image.frames.ends.tolist() == [0x401010, 0x401018]
    found = image.function_at(0x401012)
    assert found is not None
    assert (found.name, found.address, found.size, found.kind) == (
        "",
        0x401010,
        8,
        SymbolKind.FRAME,
    )
    assert entries(image).addresses.tolist() == [0x401000, 0x401010]


def test_an_assembler_symbol_takes_its_size_from_the_unwind_entry():
    frames = frame_table(0x600000, [(0x401000, 24, 0)])
    image = open_image(
        Elf(code=b"\x90" * 24, symbols=[Symbol("asm", 0x401000, 0)], eh_frame=frames).build()
    )
    found = image.function_at(0x401010)
    assert found is not None
    assert (found.name, found.size) == ("asm", 24)
    assert entries(image).sizes.tolist() == [24]


def test_landing_pads_are_read_from_exception_tables():
    table = lsda([0, 8, 20])
    frames = frame_table(0x600000, [(0x401000, 32, 0x500000)])
    image = open_image(Elf(code=b"\x90" * 32, data=table, eh_frame=frames).build())
    assert image.landing_pads.tolist() == [0x401008, 0x401014]


def test_words_in_data_that_point_into_code_are_found():
    data = struct.pack("<QQQQ", 0x401004, 7, 0x401005, 0x401004)
    image = open_image(Elf(code=b"\x90" * 8, data=data).build())
    assert image.code_pointers.tolist() == [0x401004, 0x401005]


def test_a_file_without_section_headers_still_has_code():
    image = open_image(Elf(code=b"\x90\xc3", sections=False).build())
    assert image.sections == ()
    assert [stretch.code for stretch in image.text] == [b"\x90\xc3"]
    assert len(image.functions) == 0


# Real files, against readelf.


@pytest.mark.parametrize("path", SYSTEM_FILES, ids=lambda path: path.name)
def test_functions_are_those_that_readelf_lists(path):
    expected = set()
    for line in readelf("--symbols", "--dyn-syms", str(path)).splitlines():
        columns = line.split()
        if (
            len(columns) >= 8
            and columns[3] in ("FUNC", "IFUNC")
            and columns[6] not in ("UND", "ABS")
        ):
            expected.add((int(columns[1], 16), int(columns[2], 0), columns[7].split("@")[0]))
    found = {(s.address, s.size, s.name) for s in open_image(path).functions}
    assert found == expected


@pytest.mark.parametrize("path", SYSTEM_FILES, ids=lambda path: path.name)
def test_unwind_entries_are_those_that_readelf_lists(path):
    expected = set()
    for line in readelf("--debug-dump=frames", str(path)).splitlines():
        if " FDE " in line:
            start, _, end = line.rpartition("pc=")[2].partition("..")
            expected.add((int(start, 16), int(end, 16)))
    frames = open_image(path).frames
    found = set(zip(frames.starts.tolist(), frames.ends.tolist(), strict=True))
    assert found == {pair for pair in expected if pair[0]}


@pytest.mark.parametrize("path", SYSTEM_FILES, ids=lambda path: path.name)
def test_the_build_id_is_the_one_that_readelf_prints(path):
    assert f"Build ID: {open_image(path).build_id}" in readelf("--notes", str(path))


def test_a_stripped_copy_without_section_headers_has_the_same_dynamic_functions(tmp_path):
    whole = open_image(LIBC)
    content = bytearray(LIBC.read_bytes())
    content[0x28:0x30] = bytes(8)  # e_shoff
    content[0x3C:0x40] = bytes(4)  # e_shnum, e_shstrndx
    bare = open_image(bytes(content))
    assert [(s.name, s.address) for s in bare.functions] == [
        (s.name, s.address) for s in whole.functions
    ]
    assert bare.frames.starts.tolist() == whole.frames.starts.tolist()


def test_a_compiled_catch_block_is_a_landing_pad(tmp_path):
    source = tmp_path / "catch.cc"
    source.write_text(
        "void may_throw(int);\n"
        'extern "C" int catches(int n)\n'
        "{ try { may_throw(n); } catch (int caught) { return caught; } return 0; }\n"
        "void may_throw(int n) { if (n) throw n; }\n"
        "int main(int c, char **) { return catches(c); }\n"
    )
    binary = tmp_path / "catch"
    subprocess.run(["g++", "-O1", "-o", str(binary), str(source)], check=True)
    image = open_image(binary)
    (function,) = image.find("catches")
    inside = [pad for pad in image.landing_pads.tolist() if function.address < pad < function.end]
    listing = subprocess.run(
        ["objdump", "-d", str(binary)], capture_output=True, text=True, check=True
    ).stdout
    assert inside
    for pad in inside:
        assert f" {pad:x}:" in listing


# Files that are refused.


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "no ELF file"),
        (b"#!/bin/sh\n", "no ELF file"),
        (b"\x7fELF", "damaged"),
        (b"\x7fELF" + bytes(60), "damaged"),
        (Elf(kind=OBJECT_FILE).build(), "not linked yet"),
        (Elf(kind=CORE).build(), "core dump"),
        (Elf(kind=9).build(), "unknown kind"),
        (Elf().build()[:-30], "behind its end"),
    ],
)
def test_what_is_no_usable_file_is_refused_with_the_reason(content, what):
    with pytest.raises(MalformedFile, match=what):
        open_image(content)


def test_a_machine_without_a_record_is_named():
    with pytest.raises(UnknownArchitecture, match="EM_AARCH64"):
        open_image(Elf(machine=AARCH64).build())


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MalformedFile, match="regular file"):
        open_image(tmp_path / "pipe")


def test_errors_of_the_operating_system_pass_through(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / "missing")


def test_an_enormous_table_in_a_sparse_file_is_refused(tmp_path):
    path = tmp_path / "sparse"
    content = bytearray(Elf(symbols=[Symbol("f", 0x401000, 1)]).build())
    table = content.index(b".symtab\0") - content.index(b"\0.text\0")
    section = struct.pack("<II", table, 2)
    at = bytes(content).rindex(section)
    content[at + 32 : at + 40] = struct.pack("<Q", 1 << 40)
    path.write_bytes(content)
    with path.open("r+b") as file:
        file.truncate(1 << 41)
    image = open_image(path)
    with pytest.raises(MalformedFile, match="one table"):
        _ = image.symbols


def test_a_file_may_be_replaced_while_it_is_open(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(Elf(code=b"\xc3", symbols=[Symbol("old", 0x401000, 1)]).build())
    image = open_image(path)
    path.unlink()
    path.write_bytes(b"something else")
    assert image.find("old")[0].address == 0x401000


def test_names_that_overlap_without_end_are_refused():
    names = b"\0" + b"a" * 50_000 + b"\0"
    symbols = [Symbol("x", 0x401000, 1)] * 3000
    content = bytearray(Elf(symbols=symbols).build())
    whole = open_image(bytes(content))
    entries_, _ = Elf()._symbols(symbols)
    table = np.frombuffer(entries_, np.dtype([("name", "<u4"), ("rest", "V20")])).copy()
    table["name"] = 1
    from insn.symbols import Symbols, symbol_dtype

    merged = Symbols.merged([(table.view(symbol_dtype(64, "little")), names)])
    assert len(merged) == len(whole.symbols)
    with pytest.raises(MalformedFile, match="overlap"):
        _ = merged.names


def everything_of(content: bytes) -> None:
    """Read all that an image offers."""
    image = open_image(content)
    for stretch in image.text:
        image.function_at(stretch.address)
    names = image.functions.names
    image.find("main")
    assert len(names) == len(image.functions)
    assert len(image.frames.starts) == len(image.frames.ends)
    image.landing_pads.sum()
    image.code_pointers.sum()
    assert image.build_id is None or isinstance(image.build_id, str)
    entries(image)


GOOD = Elf(
    code=b"\x55\x48\x89\xe5\xe8\x00\x00\x00\x00\x5d\xc3" + b"\x90" * 21,
    data=lsda([4, 9]) + struct.pack("<Q", 0x401004),
    symbols=[
        Symbol("main", 0x401000, 11),
        Symbol("other", 0x401010, 0),
        Symbol("data", 0x500000, 8, OBJECT),
    ],
    dynamic_symbols=[Symbol("main", 0x401000, 11)],
    eh_frame=frame_table(0x600000, [(0x401000, 11, 0x500000), (0x401010, 16, 0)]),
    build_id=b"12345678",
    kind=EXECUTABLE,
).build()


@settings(max_examples=200, deadline=None)
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, len(GOOD) - 1), st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF, 0x18])
        ),
        min_size=1,
        max_size=6,
    ),
    length=st.one_of(st.just(len(GOOD)), st.integers(0, len(GOOD))),
)
def test_a_damaged_file_raises_only_errors_of_the_package(changes, length):
    content = bytearray(GOOD)
    for position, value in changes:
        content[position] = value
    try:
        everything_of(bytes(content[:length]))
    except InsnError as error:
        assert error.why  # noqa: PT017  # any outcome is right but another exception


def test_damaged_headers_of_a_real_file_raise_only_errors_of_the_package():
    chance = random.Random(31)
    original = GZIP.read_bytes()
    headers = len(original) - 64 * 40
    for _ in range(50):
        content = bytearray(original)
        for _ in range(chance.randint(1, 12)):
            where = chance.choice(
                [chance.randrange(0x400), chance.randrange(headers, len(content))]
            )
            size = chance.choice([1, 2, 4, 8])
            value = chance.choice(
                [0, (1 << 8 * size) - 1, 1 << 8 * size - 1, chance.getrandbits(8 * size)]
            )
            content[where : where + size] = value.to_bytes(size, "little")
        try:
            everything_of(bytes(content[: len(original)]))
        except InsnError as error:
            assert error.code  # noqa: PT017  # the same


def test_the_good_file_is_good():
    everything_of(GOOD)
    image = open_image(GOOD)
    assert image.kind is FileKind.EXECUTABLE
    assert image.landing_pads.tolist() == [0x401004, 0x401009]


def test_files_are_closed_when_nobody_holds_the_image(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(GOOD)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        assert open_image(path).find("main")
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
