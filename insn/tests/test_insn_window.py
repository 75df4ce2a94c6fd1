"""Which instructions a jump displaces, and where control may enter."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from elf_files import EXECUTABLE, FUNCTION, Elf, Symbol, frame_table, lsda

from insn import Flow, Method, open_image
from insn.forms import FLOWS
from insn.survey import entries
from insn.targets import CodeMap
from insn.window import REASONS, Windows, patch_window

SYSTEM = Path("/usr/lib/x86_64-linux-gnu")
BASE = 0x401000


def image_of(text: str, **fields):
    """One function of these bytes, padded with int3 to 64."""
    code = bytes.fromhex(text)
    symbols = [Symbol("f", BASE, len(code))]
    return open_image(Elf(code=code.ljust(64, b"\xcc"), symbols=symbols, **fields).build())


CASES = """
# code, offset of the window | end of the displaced instructions, bytes of padding | reason
55 4889e5 53 c3, 0 | 5, 0 | -
55 4889e5 c3, 0 | 5, 0 | -
e800000000 c3, 0 | 5, 0 | -
4889e5 4889e5 c3, 0 | 6, 0 | -
4889e5 4889e5 c3, 3 | 7, 1 | -
90 90 c3, 0 | 3, 2 | -
c3, 0 | 1, 4 | -
f3c3, 0 | 2, 3 | -
ebfe, 0 | 2, 3 | -
ffe0, 0 | 2, 3 | -
31c0 c3 9090 9090, 0 | 3, 2 | -
31c0 c3 4889e5 c3, 0 | 3, 0 | no-room
55 4889e5 ebfb, 0 | 4, 0 | entered-inside
55 4889e5 ebfc, 0 | 5, 0 | entered-inside
55 4889e5 53 ebfa, 0 | 5, 0 | entered-inside
55 4889e5 53 ebf9, 0 | 5, 0 | -
55 4889e5 53 75ff, 0 | 5, 0 | -
e2fe 4889e5 c3, 0 | 5, 0 | -
4889e5 cc c3, 0 | 3, 0 | not-displaceable
31c0 0f05 c3, 0 | 2, 0 | not-displaceable
31c0 ffd0 c3, 0 | 2, 0 | call-inside
31c0 90 ffd0 c3, 0 | 5, 0 | -
ffd0 909090 c3, 0 | 0, 0 | call-inside
ff5500 9090 c3, 0 | 0, 0 | call-inside
ff9500000000 c3, 0 | 6, 0 | -
4889e5 4889e5 06 c3, 0 | 6, 0 | undecoded-function
4889e5 4889e5 c3, 1 | 0, 0 | not-a-boundary
48b80102030405060708 c3, 0 | 10, 0 | -
"""


@pytest.mark.parametrize("line", [c for c in CASES.splitlines() if c and c[0] != "#"])
def test_windows_are_as_listed(line):
    code, expected, reason = (part.strip() for part in line.split("|"))
    text, offset = code.split(",")
    end, padding = (int(n) for n in expected.split(","))
    found = patch_window(image_of(text), BASE + int(offset))
    assert (found.reason.code if found.reason else "-") == reason or (
        reason == "not-displaceable" and found.reason is not None
    )
    if found.allowed:
        assert found.end - BASE == end
        assert found.padding == padding
        assert found.instructions[0].address == BASE + int(offset)
        assert found.instructions[-1].end == found.end
        assert found.end + found.padding >= found.address + found.size


def test_the_refusal_of_a_displaced_instruction_is_given():
    found = patch_window(image_of("31c0 0f05 c3"), BASE)
    assert found.reason is not None
    assert found.reason.code == "system-call"


@pytest.mark.parametrize(
    "fields",
    [
        {"data": (BASE + 1).to_bytes(8, "little")},
        {"entry": BASE + 4},
        {"data": lsda([4]), "eh_frame": frame_table(0x600000, [(BASE, 6, 0x500000)])},
        {"eh_frame": frame_table(0x600000, [(BASE, 6, 0), (BASE + 4, 2, 0)])},
    ],
    ids=["word in data", "entry point", "landing pad", "unwind entry"],
)
def test_whatever_leads_inside_forbids_the_jump(fields):
    assert patch_window(image_of("55 4889e5 53 c3"), BASE).allowed
    found = patch_window(image_of("55 4889e5 53 c3", **fields), BASE)
    assert found.reason is not None
    assert found.reason.code == "entered-inside"


def test_a_branch_from_another_function_forbids_the_jump():
    first = bytes.fromhex("55 4889e5 53 c3").ljust(16, b"\xcc")
    second = bytes.fromhex("e9") + (BASE + 4 - (BASE + 21)).to_bytes(4, "little", signed=True)
    symbols = [Symbol("f", BASE, 6), Symbol("g", BASE + 16, 5)]
    image = open_image(Elf(code=first + second, symbols=symbols).build())
    row = Windows(image).judge([BASE, BASE + 16])
    assert [REASONS[n].code if REASONS[n] else None for n in row["reason"]] == [
        "entered-inside",
        None,
    ]
    assert int(row["target"][0]) == BASE + 4


def test_a_program_with_a_fixed_place_holds_addresses_in_instructions():
    code = "55 4889e5 53 c3 bf 01104000 c3"  # mov edi, 0x401001
    assert patch_window(image_of(code), BASE).allowed
    found = patch_window(image_of(code, kind=EXECUTABLE), BASE)
    assert found.reason is not None
    assert found.reason.code == "entered-inside"


def test_padding_that_something_enters_is_no_room():
    code = bytes.fromhex("c3 90909090 9090") + bytes.fromhex("ebf9").rjust(9, b"\x90")
    symbols = [Symbol("f", BASE, 1), Symbol("g", BASE + 7, 9, FUNCTION)]
    found = patch_window(open_image(Elf(code=code, symbols=symbols).build()), BASE)
    assert found.allowed
    code = bytes.fromhex("c3 90909090 9090") + bytes.fromhex("ebf4").rjust(9, b"\x90")
    found = patch_window(open_image(Elf(code=code, symbols=symbols).build()), BASE)
    assert found.reason is not None
    assert found.reason.code == "entered-inside"


def built(tmp_path: Path, source: str, *options: str) -> Path:
    text, binary = tmp_path / "program.c", tmp_path / "program"
    text.write_text(source)
    subprocess.run(["gcc", *options, "-o", str(binary), str(text)], check=True)
    return binary


CASE_COUNT = 12
SWITCH = (
    "extern int puts(const char *);\n"
    "__attribute__((noinline)) int f(int n) {\n switch (n) {\n"
    + "".join(
        f'case {n}: __asm__ volatile("mark{n}:"); return puts("{n}") * {n + 3};\n'
        for n in range(CASE_COUNT)
    )
    + "}\nreturn 0; }\nint main(int c, char **v) { return f(c); }\n"
)


@pytest.mark.parametrize(
    "options", [("-fPIC", "-pie"), ("-fno-pic", "-no-pie"), ("-fcf-protection",)]
)
def test_every_case_of_a_compiled_switch_may_be_entered(tmp_path, options):
    image = open_image(built(tmp_path, SWITCH, "-O1", *options))
    marks = [image.symbols.find(f"mark{n}")[0].address for n in range(CASE_COUNT)]
    code = CodeMap(image)
    jumps = code.instructions["flow"] == FLOWS.index(Flow.INDIRECT_JUMP)
    (function,) = image.find("f")
    assert any(function.address < a < function.end for a in code.instructions["address"][jumps])
    assert not np.isin(marks, code.functions).any()
    assert np.isin(marks, code.entries).all()


LABELS = (
    "extern int puts(const char *);\n"
    "__attribute__((noinline)) int f(unsigned n, int m) {\n static const int table[] = {"
    + ", ".join(f"&&l{n} - &&l0" for n in range(CASE_COUNT))
    + "};\n goto *(&&l0 + table[n]);\n"
    + "".join(
        f'l{n}: __asm__ volatile("mark{n}:"); m = puts("{n}") * {n + 3};\n'
        f"if (m == {n}) return m; goto *(&&l0 + table[m]);\n"
        for n in range(CASE_COUNT)
    )
    + "}\nint main(int c, char **v) { return f(c, c); }\n"
)


@pytest.mark.parametrize("options", [("-fPIC", "-pie"), ("-fno-pic", "-no-pie")])
def test_labels_as_values_may_be_entered(tmp_path, options):
    """Distances from a label, as in glibc's printf, not from their own table."""
    image = open_image(built(tmp_path, LABELS, "-O1", *options))
    marks = [image.symbols.find(f"mark{n}")[0].address for n in range(CASE_COUNT)]
    code = CodeMap(image)
    assert np.isin(marks, code.entries).all()
    (function,) = image.find("f")
    instructions = code.instructions["address"]
    inside = (instructions >= function.address) & (instructions < function.end)
    assert np.isin(instructions[inside], code.entries).mean() < 0.9


COMPUTED = """
    .text
    .globl main, f, g
    .type main, @function
    .type f, @function
    .type g, @function
f:  lea first(%rip), %rax           # each case is 8 bytes long
    lea (%rax, %rdi, 8), %rax
    jmp *%rax
first:
    add $1, %esi
    mov %esi, %eax
    nop
    nop
    ret
second:
    add $2, %esi
    mov %esi, %eax
    nop
    nop
    ret
    .size f, .-f
    .p2align 4
g:  push %rbp
    mov %rsp, %rbp
    nop
    pop %rbp
    ret
    .size g, .-g
main: mov $1, %edi
    call f
    call g
    ret
    .size main, .-main
"""


def test_a_function_that_computes_addresses_of_its_code_may_be_entered_anywhere(tmp_path):
    """As glibc's memmove-ssse3 does."""
    text, binary = tmp_path / "computed.s", tmp_path / "computed"
    text.write_text(COMPUTED)
    subprocess.run(["gcc", "-o", str(binary), str(text)], check=True)
    image = open_image(binary)
    second, f, g = (image.symbols.find(name)[0].address for name in ("second", "f", "g"))
    windows = Windows(image)
    assert {second, second + 3, second + 5} <= set(windows.map.entries.tolist())
    rows = windows.judge([second, f, g])
    assert [REASONS[n].code if n else "-" for n in rows["reason"]] == ["entered-inside", "-", "-"]


RESTARTABLE = """
    .section __rseq_cs, "aw"
    .balign 32
    .long 0, 0
    .quad first, behind - first, other
    .text
    .globl main
    .type main, @function
main:
    mov $1, %esi
before:
    lea 1(%rsi), %rsi
    nop
first:
    mov %rsi, %rdi
    mov %rdi, (%rsp)
behind:
    mov $1, %eax
    ret
    .byte 0x0f, 0xb9, 0x3d
    .long 0x53053053
other:
    mov $2, %eax
    ret
    .size main, .-main
"""


@pytest.mark.parametrize("option", ["-pie", "-no-pie"])
def test_nothing_of_a_restartable_sequence_is_displaced(tmp_path, option):
    text, binary = tmp_path / "restartable.s", tmp_path / "restartable"
    text.write_text(RESTARTABLE)
    subprocess.run(["gcc", option, "-o", str(binary), str(text)], check=True)
    image = open_image(binary)
    before, first, behind, other = (
        image.symbols.find(name)[0].address for name in ("before", "first", "behind", "other")
    )
    rows = Windows(image).judge([before, before + 4, first, first + 3, behind, other])
    codes = [REASONS[n].code if n else "-" for n in rows["reason"]]
    assert codes == ["-", "restartable", "restartable", "restartable", "-", "-"]
    assert rows["form"].astype(bool).tolist() == [code == "-" for code in codes]


COLD = """
    .text
    .globl main, f
    .type main, @function
    .type f, @function
    .p2align 4
f:  .cfi_startproc
    cmpl $3, %edi
    je f.cold
    movl %edi, %eax
    ret
    .cfi_endproc
    .p2align 4
g:  .cfi_startproc
    movl $2, %eax
    ret
    .cfi_endproc
main: .cfi_startproc
    call f
    call g
    ret
    .cfi_endproc
    .section .text.unlikely, "ax"
f.cold: .cfi_startproc
    xorl %eax, %eax
    ret
    .cfi_endproc
"""


def test_tables_of_distances_from_the_global_offset_table_are_found(tmp_path):
    source = SWITCH.split("int main")[0]
    image = open_image(built(tmp_path, source, "-m32", "-O1", "-fPIC", "-shared", "-nostdlib"))
    assert image.arch.name == "x86_32"
    marks = [image.symbols.find(f"mark{n}")[0].address for n in range(CASE_COUNT)]
    assert np.isin(marks, CodeMap(image).entries).all()


def test_cold_parts_are_not_taken_for_functions(tmp_path):
    text, binary = tmp_path / "cold.s", tmp_path / "cold"
    text.write_text(COLD)
    subprocess.run(["gcc", "-o", str(binary), str(text)], check=True)
    whole = open_image(binary)
    (cold,), (called,) = whole.symbols.find("f.cold"), whole.symbols.find("g")
    subprocess.run(["strip", str(binary)], check=True)
    image = open_image(binary)
    assert cold.address in CodeMap(image).parts.tolist()
    found = entries(image).addresses.tolist()
    assert cold.address not in found
    assert called.address in found


@pytest.mark.parametrize(
    "path", [SYSTEM / "libc.so.6", SYSTEM / "libcrypto.so.3", Path("/usr/bin/python3")]
)
def test_nearly_every_function_can_take_a_jump_and_the_rest_has_a_reason(path):
    found = entries(open_image(path))
    plain = Windows(found.code).judge(found.addresses)["reason"] == 0
    assert plain.mean() >= 0.99
    allowed = found.allowing(Method.JUMP)
    assert allowed.mean() >= 0.999
    assert (allowed | ~plain).all()
    for index in np.flatnonzero(~allowed).tolist():
        assert found.refusals(index)[Method.JUMP].why


def test_windows_agree_with_their_instructions_on_libc():
    image = open_image(SYSTEM / "libc.so.6")
    windows = Windows(image)
    found = entries(image)
    rows = windows.judge(found.addresses)
    entered = set(windows.map.entries.tolist())
    for row in rows[::40]:
        window = windows.window(int(row["address"]))
        assert window.allowed == (row["reason"] == 0)
        if window.allowed:
            assert len(window.instructions) == row["count"]
            assert all(i.arch.judge(i).allows(Method.JUMP) for i in window.instructions)
            hole = range(window.address + 1, window.address + window.size)
            assert not entered.intersection(hole)


def test_no_addresses_give_no_windows():
    assert len(Windows(image_of("c3")).judge([])) == 0
    nothing = Windows(image_of("c3")).judge([0, 1 << 63])
    assert [REASONS[n].code for n in nothing["reason"]] == ["not-a-boundary"] * 2


@pytest.mark.parametrize("name", ["/bin/gzip", "/usr/lib/x86_64-linux-gnu/libz.so.1"])
def test_no_branch_that_a_disassembler_lists_enters_a_hole(name):
    image = open_image(name)
    windows = Windows(image)
    every = windows.map.instructions["address"]
    rows = windows.judge(every)
    allowed = rows[rows["reason"] == 0]
    assert len(allowed) > len(rows) / 2
    command = ["objdump", "-d", "--no-show-raw-insn", name]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # A branch ends with its target and a symbol, an address taken with `# target <symbol>`.
    targets = {int(found, 16) for found in re.findall(r"\b([0-9a-f]+) <", listing)}
    starts = {int(found, 16) for found in re.findall(r"^ *([0-9a-f]+):\t", listing, re.MULTILINE)}
    for row in allowed:
        inside = range(int(row["address"]) + 1, int(row["address"]) + 5)
        assert not targets.intersection(inside) & starts
    # Each one is as many whole instructions as were counted.
    index = np.searchsorted(every, allowed["address"])
    ends = every[np.minimum(index + allowed["count"], len(every) - 1)]
    assert (ends == allowed["end"]).mean() > 0.999
    assert set(allowed["address"].tolist()) <= starts
