"""Damaged and hostile ELF files: whatever is asked of one, only errors of this package come out.

The corpus is made by mutation of real programs and libraries: headers, tables of symbols,
relocations and unwind entries, exception tables, code. `SEED` in the environment makes another one.
"""

import os
import random
import shutil
from pathlib import Path

import pytest

import insn
from insn import InsnError, corpus, open_image
from insn.survey import entries

SEED = int(os.environ.get("SEED", "1"))
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
ODD = (0, 1, 2, 3, 4, 5, 7, 8, 0x7F, 0x80, 0xFF)
# Where a change does most: section types and names.
TABLES = {
    ".dynsym", ".dynstr", ".symtab", ".strtab", ".dynamic", ".rela.dyn", ".rela.plt", ".rel.dyn",
    ".eh_frame", ".eh_frame_hdr", ".gcc_except_table", ".note.gnu.build-id", ".text", ".rodata",
    ".data.rel.ro", ".init_array", ".gnu.hash", ".relr.dyn", ".plt",
}  # fmt: skip


def everything_of(content):
    """Ask an image all that the package can answer."""
    image = open_image(content)
    for stretch in image.text:
        image.function_at(stretch.address)
    assert len(image.functions.names) == len(image.functions)
    image.find("main")
    assert len(image.frames.starts) == len(image.frames.ends)
    image.landing_pads.sum()
    image.code_pointers.sum()
    assert image.build_id is None or isinstance(image.build_id, str)
    found = entries(image)
    windows = insn.Windows(found.code)
    chosen = found.addresses[:: max(1, len(found) // 8)].tolist()
    for address in [*chosen, image.entry]:
        for asked in (address, (address + 1) % (1 << 64)):
            try:
                window = windows.window(asked)
                assert window.allowed == (window.reason is None)
            except InsnError as error:
                assert error.code  # noqa: PT017  # any other exception fails
    verdicts = insn.boundaries(image, [(a + d) % (1 << 64) for a in chosen for d in (0, 1)])
    assert len(verdicts) == 2 * len(chosen)
    windows.dead(chosen)
    return len(found)


def places(content):
    """List (offset, size) of what is worth damaging: headers and tables."""
    image = open_image(content)
    found = [(0, 64), (64, 56 * 12), (len(content) - 64 * 40, 64 * 40)]
    found += [(s.offset, s.size) for s in image.sections if s.name in TABLES and s.size]
    return [(at, size) for at, size in found if at >= 0 and at + size <= len(content)]


def damaged(content, where, chance):
    """Make one damaged copy."""
    copy = bytearray(content)
    for _ in range(chance.choice((1, 2, 4, 8, 30))):
        start, size = chance.choice(where)
        at = start + chance.randrange(size)
        kind = chance.random()
        if kind < 0.4:
            width = chance.choice((1, 2, 4, 8))
            value = chance.choice(
                (0, (1 << 8 * width) - 1, 1 << 8 * width - 1, chance.getrandbits(8 * width))
            )
            copy[at : at + width] = value.to_bytes(width, "little")
        elif kind < 0.6:
            copy[at] = chance.choice(ODD)
        elif kind < 0.7:
            copy[at] ^= 1 << chance.randrange(8)
        elif kind < 0.85:  # a piece of another table
            other, room = chance.choice(where)
            length = min(chance.choice((4, 8, 24, 64, 256)), room)
            piece = copy[other : other + length]
            copy[at : at + len(piece)] = piece
        elif kind < 0.95:
            copy[at : at + 64] = chance.randbytes(64)
        else:
            del copy[chance.randrange(len(copy)) :]
            return bytes(copy)
    return bytes(copy[: len(content)])


def survive(paths, count):
    """Damage each file so often, and ask everything of each copy; return how many could be read."""
    chance = random.Random(SEED)
    readable = asked = 0
    for path in paths:
        content = path.read_bytes()
        where = places(content)
        assert everything_of(content) > 0
        for number in range(count):
            copy = damaged(content, where, chance)
            asked += 1
            try:
                everything_of(copy)
                readable += 1
            except InsnError as error:
                assert error.why  # noqa: PT017  # any other exception fails
            except Exception:
                kept = Path(os.environ.get("KEEP", "/tmp"), f"hostile-{path.name}-{number}")
                kept.write_bytes(copy)
                print(f"seed {SEED}: {kept}")
                raise
    print(f"seed {SEED}: {asked} damaged files, {readable} of them readable")
    return readable, asked


SMALL = [Path(found) for name in ("gzip", "true") if (found := shutil.which(name))]


def test_damaged_programs_raise_only_errors_of_the_package():
    readable, asked = survive(SMALL, 15)
    assert 0 < readable < asked


@pytest.mark.torture
def test_thousands_of_damaged_programs_and_libraries_raise_only_errors_of_the_package():
    libraries = [LIBRARIES / name for name in ("libz.so.1", "libm.so.6", "libstdc++.so.6")]
    paths = [*SMALL, *(path.resolve() for path in libraries if path.exists())]
    readable, asked = survive(paths, 600)
    assert asked >= 1800
    assert 0 < readable < asked


def test_a_damaged_file_that_is_scanned_whole_is_a_result_with_its_error(tmp_path):
    content = SMALL[0].read_bytes()
    chance = random.Random(SEED)
    where = places(content)
    for number in range(10):
        path = tmp_path / f"{number}"
        path.write_bytes(damaged(content, where, chance))
        found = corpus.scan_file(path)
        assert found.error is None or found.error.code in ("malformed-file", "unknown-architecture")
        assert len(found.functions) == len(found.names)
