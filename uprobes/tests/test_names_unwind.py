"""Unwind rules: every function of a library, beside another reader of the same tables."""

import io
import struct

import pytest
from elftools.dwarf.callframe import FDE, RegisterRule
from elftools.elf.elffile import ELFFile

from insn.elf import open_image
from insn.errors import MalformedFile
from uprobes.maps import read_mappings
from uprobes.names.unwind_rules import How, evaluate, rules_at

KINDS = {
    How.AT_OFFSET: RegisterRule.OFFSET,
    How.IS_OFFSET: RegisterRule.VAL_OFFSET,
    How.AT_EXPRESSION: RegisterRule.EXPRESSION,
    How.IS_EXPRESSION: RegisterRule.VAL_EXPRESSION,
    How.REGISTER: RegisterRule.REGISTER,
    How.UNDEFINED: RegisterRule.UNDEFINED,
}


def library(name):
    """Give the path of a library that this very process has mapped."""
    return next(m.path for m in read_mappings("self") if name in m.path)


@pytest.mark.parametrize("name", ["/libc.so", "/ld-linux"])
def test_the_rules_are_those_that_pyelftools_reads(name):
    with open(library(name), "rb") as file:
        content = file.read()
    image = open_image(content)
    tables = ELFFile(io.BytesIO(content)).get_dwarf_info().EH_CFI_entries()
    entries = [entry for entry in tables if isinstance(entry, FDE)]
    compared = 0
    for entry in entries[:: max(len(entries) // 400, 1)]:
        lines = entry.get_decoded().table
        for index, line in enumerate(lines):
            at = line["pc"]
            if index + 1 < len(lines) and lines[index + 1]["pc"] == at:
                continue  # two rows for one address: the last counts
            rules = rules_at(image, at)
            where = f"{name} {at:#x}"
            if line["cfa"].expr is None:
                assert rules.frame == (line["cfa"].reg, line["cfa"].offset), where
            else:
                assert rules.frame == bytes(line["cfa"].expr), where
            theirs = {
                number: (rule.type, bytes(rule.arg) if isinstance(rule.arg, list) else rule.arg)
                for number, rule in line.items()
                if isinstance(number, int) and rule.type != RegisterRule.SAME_VALUE
            }
            ours = {
                number: (KINDS[how], None if how is How.UNDEFINED else what)
                for number, (how, what) in rules.saved.items()
            }
            assert ours == theirs, where
            compared += 1
    assert compared > 300


def test_what_no_entry_covers_has_no_rules():
    with open(library("/libc.so"), "rb") as file:
        image = open_image(file.read())
    assert rules_at(image, 0) is None
    assert rules_at(image, (1 << 64) - 1) is None


REGISTERS = {7: 0x1000, 16: 0x2345}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("77 08", 0x1008),  # rsp + 8
        ("77 78", 0xFF8),  # rsp - 8
        ("77 a0 01 06", 0x10A0 * 2),  # the word at rsp + 160
        # What glibc's PLT has: 16 bytes of arguments above rsp + 8 behind the first instructions.
        ("77 08 80 00 3f 1a 3b 2a 33 24 22", 0x1008),
        ("0a 34 12", 0x1234),
        ("09 ff 23 02", 1),
        ("35 12 1c", 0),
        ("08 08 24", 0x2000 << 7),  # what the expression begins with, shifted
    ],
)
def test_expressions(expression, value):
    code = bytes.fromhex(expression)
    initial = 0x2000 << 7 >> 8 if expression.startswith("08 08") else None
    assert evaluate(code, REGISTERS, lambda place: place * 2, initial) == value


@pytest.mark.parametrize("expression", ["06", "22", "30 22", "f3", "08", "90", "75 00"])
def test_expressions_that_make_no_sense(expression):
    with pytest.raises(MalformedFile):
        evaluate(bytes.fromhex(expression), REGISTERS, lambda place: place)


def test_broken_tables_end_in_an_error_or_nothing():
    """Each byte of the entries around one function, turned over: never anything else."""
    with open(library("/ld-linux"), "rb") as file:
        content = bytearray(file.read())
    image = open_image(bytes(content))
    index = len(image.frames.starts) // 2
    address = int(image.frames.starts[index])
    _, section = image.frame_section
    offset = image.section(".eh_frame").offset
    place = int(image.frames.places[index])
    (back,) = struct.unpack_from("<I", section, place - 4)
    common = place - 4 - back
    spots = [*range(common, common + 24), *range(place - 8, place + 40)]
    for spot in spots:
        for flip in (0xFF, 0x80, 0x01):
            content[offset + spot] ^= flip
            try:
                rules_at(open_image(bytes(content)), address)
            except MalformedFile:
                pass
            finally:
                content[offset + spot] ^= flip
