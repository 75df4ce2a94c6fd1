"""Files made to hurt who reads them: loops, counts without end, sizes that are none.

Each case changes one field of a good file in a way that a reader might follow for ever, or allocate
for. It may be refused or half read, within little memory and time.
"""

import json
import resource
import struct
import subprocess
import sys

import pytest
from elftools.elf.elffile import ELFFile

pytestmark = [pytest.mark.needs("gcc", package="gcc")]

SPECS = ("*", "alone", "alone+1", "chosen", "elf:{}:0x1200", "off:{}:0x1200", "nosuch", "/a/")
MEMORY, SECONDS = 3 << 30, 20
HUGE = (1 << 64) - 1
SHDR = struct.Struct("<IIQQQQIIQQ")
NAME, TYPE, FLAGS, ADDRESS, OFFSET, SIZE, LINK, INFO, ALIGN, ENTRY = range(10)

READER = """
import contextlib, json, signal, sys
from uprobes.errors import ProbeError
from uprobes.names import Resolver
for path in json.loads(sys.argv[1]):
    print(path, end=" ", flush=True)
    signal.alarm(int(sys.argv[2]))
    names = Resolver()
    for spec in json.loads(sys.argv[3]):
        text = spec.format(path) if "{}" in spec else f"{path}:{spec}"
        with contextlib.suppress(ProbeError):
            for location in names.in_file(text).locations:
                names.code_at(location, 16)
    print("read", flush=True)
"""


class Crafted:
    """A copy of a good file, to be changed."""

    def __init__(self, path):
        self.content = bytearray(path.read_bytes())
        with path.open("rb") as file:
            elf = ELFFile(file)
            self.table = elf["e_shoff"]
            self.sections = {s.name: number for number, s in enumerate(elf.iter_sections())}
            self.segments = elf["e_phoff"]
            self.kinds = [s["p_type"] for s in elf.iter_segments()]

    def put(self, offset, layout, *values):
        struct.pack_into(layout, self.content, offset, *values)

    def section(self, name, **fields):
        """Change fields of a section header."""
        at = self.table + SHDR.size * self.sections[name]
        row = list(SHDR.unpack_from(self.content, at))
        for field, value in fields.items():
            row[globals()[field]] = value
        SHDR.pack_into(self.content, at, *row)

    def fill(self, name, pattern, skip=0):
        """Fill what a section holds."""
        row = SHDR.unpack_from(self.content, self.table + SHDR.size * self.sections[name])
        size = row[SIZE] - skip
        start = row[OFFSET] + skip
        self.content[start : start + size] = (pattern * (size // len(pattern) + 1))[:size]

    def without_sections(self):
        self.put(40, "<Q", 0)
        self.put(60, "<HH", 0, 0)

    def segment(self, kind, field, value):
        """Change a word of the first program header of a kind."""
        at = self.segments + 56 * self.kinds.index(kind)
        self.put(at + 8 * field, "<Q", value)


CASES = {
    "sections without end": lambda c: c.put(60, "<H", 0xFFFF),
    "the section table behind the end": lambda c: c.put(40, "<Q", HUGE),
    "section names of nowhere": lambda c: c.put(62, "<H", 0xFFFF),
    "a count of sections in section 0": lambda c: (
        c.put(60, "<H", 0),
        c.put(c.table + 32, "<Q", 1 << 60),
    ),
    "segments without end": lambda c: c.put(56, "<H", 0xFFFF),
    "no segments": lambda c: c.put(56, "<H", 0),
    "the segment table in itself": lambda c: c.put(32, "<Q", 8),
    "a huge symbol table": lambda c: c.section(".symtab", SIZE=HUGE),
    "symbols of no size": lambda c: c.section(".symtab", ENTRY=0),
    "symbols of a huge size": lambda c: c.section(".symtab", ENTRY=HUGE),
    "a symbol table that names itself": lambda c: c.section(".symtab", LINK=c.sections[".symtab"]),
    "symbols with strings of nowhere": lambda c: c.section(".symtab", LINK=0xFFFF_FFFF),
    "strings without an end": lambda c: c.fill(".strtab", b"x"),
    "symbols of all ones": lambda c: c.fill(".symtab", b"\xff"),
    "symbols at the top of memory": lambda c: c.fill(
        ".symtab", struct.pack("<IBBHQQ", 1, 0x12, 0, 12, HUGE - 3, HUGE)
    ),
    "a million symbols with one name": lambda c: (
        c.section(".symtab", SIZE=24 * 1_000_000),
        c.content.extend(bytes(24 * 1_000_000)),
    ),
    "text of no end": lambda c: c.section(".text", SIZE=HUGE),
    "text at the top": lambda c: c.section(".text", ADDRESS=HUGE - 15),
    "a load segment as large as memory": lambda c: c.segment("PT_LOAD", 4, HUGE),
    "a load segment of negative place": lambda c: c.segment("PT_LOAD", 1, HUGE - 4095),
    "an interpreter without an end": lambda c: c.fill(".interp", b"/"),
    "a huge interpreter": lambda c: c.segment("PT_INTERP", 4, HUGE),
    "dynamic entries without an end": lambda c: c.fill(".dynamic", struct.pack("<QQ", 1, 1)),
    "dynamic entries that point at themselves": lambda c: c.fill(
        ".dynamic", struct.pack("<QQQQ", 5, HUGE, 6, HUGE)
    ),
    "hash chains that loop": lambda c: (c.fill(".gnu.hash", b"\x02\0\0\0"), c.without_sections()),
    "hash chains of huge counts": lambda c: (c.fill(".gnu.hash", b"\xff"), c.without_sections()),
    "version needs that loop": lambda c: c.fill(".gnu.version_r", b"\x01\0\x01\0" + bytes(12)),
    "version needs of huge counts": lambda c: c.fill(".gnu.version_r", b"\xff"),
    "unwind entries of no length": lambda c: c.fill(".eh_frame", bytes(4)),
    "unwind entries of huge length": lambda c: c.fill(
        ".eh_frame", b"\xff\xff\xff\xff" + b"\xff" * 8
    ),
    "unwind numbers that never end": lambda c: c.fill(".eh_frame", b"\x80", skip=9),
    "unwind entries that are their own parent": lambda c: c.fill(
        ".eh_frame", struct.pack("<II", 12, 4) + bytes(8)
    ),
    "an unwind table of huge counts": lambda c: c.fill(".eh_frame_hdr", b"\xff", skip=4),
    "notes of huge sizes": lambda c: c.fill(".note.gnu.build-id", b"\xff"),
    "notes of no size": lambda c: c.fill(".note.gnu.build-id", bytes(4)),
    "lines of zeros": lambda c: c.fill(".debug_line", b"\0"),
    "lines of ones": lambda c: c.fill(".debug_line", b"\xff"),
    "line numbers that never end": lambda c: c.fill(".debug_line", b"\x80", skip=16),
    "entries of zeros": lambda c: c.fill(".debug_info", b"\0"),
    "entries of ones": lambda c: c.fill(".debug_info", b"\xff"),
    "entries that never end": lambda c: c.fill(".debug_info", b"\x80", skip=12),
    "abbreviations of ones": lambda c: c.fill(".debug_abbrev", b"\xff"),
    "abbreviations that never end": lambda c: c.fill(".debug_abbrev", b"\x80"),
}


def limited():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


@pytest.fixture(scope="module")
def crafted(needs, tmp_path_factory):
    """All cases as files: name and path."""
    place = tmp_path_factory.mktemp("crafted")
    source = place / "good.c"
    source.write_text(
        "int alone(int x) { return x + 1; }\nint chosen(int x) { return x; }\n"
        "int main(int n, char **v) { return v ? alone(n) : chosen(n); }\n"
    )
    good = place / "good"
    subprocess.run(
        [needs("gcc", package="gcc"), "-g", "-O1", "-o", good, source, "-Wl,--build-id"], check=True
    )
    paths = {"good": good}
    for name, change in CASES.items():
        copy = Crafted(good)
        change(copy)
        paths[name] = place / name.replace(" ", "-")
        paths[name].write_bytes(copy.content)
    return paths


def test_files_made_to_hurt_are_read_in_little_time_and_memory(crafted):
    paths = [str(path) for path in crafted.values()]
    specs = [*SPECS, "good.c:1", "alone@good.c:1"]
    done = subprocess.run(
        [sys.executable, "-c", READER, json.dumps(paths), str(SECONDS), json.dumps(specs)],
        capture_output=True,
        text=True,
        preexec_fn=limited,
    )
    assert done.returncode == 0, (done.stdout[-300:], done.stderr[-3000:])
    assert done.stdout.splitlines() == [f"{path} read" for path in paths]
