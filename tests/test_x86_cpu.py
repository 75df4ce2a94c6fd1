"""The CPU itself says whether copies and emulation of x86 instructions do what the originals do.

`native/x86_cpu.c` runs each instruction in place and as every copy that the verdict allows, from
the same random states, and compares registers, flags, vectors, memory, program counter and
faults; copies that run freely are also stepped through, and every stop must be at a boundary.
`SEED` and `ROUNDS` in the environment widen the search; `make torture` runs at least 1,000,000
pairs.
"""

import dataclasses
import os
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path
from random import Random

import numpy as np
import pytest

import insn
from insn import Fixups, Flow, Method

sys.path.insert(0, str(Path(__file__).parents[1] / "insn" / "tests"))
from x86_samples import sample

from insn.x86_row import Property, Space
from insn.x86_table import ROWS

SEED = int(os.environ.get("SEED", "1"))
ROUNDS = int(os.environ.get("ROUNDS", "1"))
CODE, NEAR, FAR = 0x1000_0100, 0x2000_0080, 0x7000_0000_0040
DATA, STACK, AREA = 0x3000_0000, 0x3100_0000, 0x2000
STATE = struct.Struct("<16QQQQiiQ")
COPY = struct.Struct("<QQIIIIII128s" + "IIQ" * 48)
INPUT = struct.Struct("<QQQQ16QIIIIII64s")
FREE, STEP, WALK = 0, 1, 2  # how a copy is run; WALK steps through all of it
NO_REGISTER = 0xFFFFFFFF

# Instructions that cannot be compared this way, and why.
SKIPPED = {
    "rdtsc rdtscp rdpru rdrand rdseed rdpmc": "never the same twice",
    "fnstenv fnsave fxsave xsave xsaveopt xsavec xsaves": "they store where x87 code stood",
    "xrstor fxrstor wrpkru rdpkru xsetbv": "they change what the harness itself needs",
    "monitorx mwaitx umwait tpause umonitor mcommit": "they wait",
    "wrgsbase rdgsbase rdfsbase": "the harness keeps these bases for itself",
    "clzero": "it writes a cache line that may hold the harness",
}
SKIPPED_NAMES = {name for names in SKIPPED for name in names.split()}


@pytest.fixture(scope="module")
def harness(tmp_path_factory, needs):
    compiler = needs("gcc", package="gcc")
    program = tmp_path_factory.mktemp("native") / "x86_cpu"
    source = Path(__file__).parent / "native" / "x86_cpu.c"
    flags = ["-O0", "-static-pie", "-mfsgsbase", "-mno-red-zone", "-fno-stack-protector"]
    subprocess.run([compiler, *flags, "-o", program, source], check=True)
    return program


def start_of(arch):
    """Say where the instruction stands: in 16-bit code, at an offset in its segment."""
    return 0x100 if arch.bits == 16 else CODE


def data_of(arch):
    return 0 if arch.bits == 16 else DATA


def aimed(code, arch, random):
    """Change an instruction and choose registers so that it addresses memory that is there.

    Returns the bytes and the registers to be set, or None for what cannot be run.
    """
    instruction = arch.decode(code, start_of(arch))
    data = data_of(arch)
    detail = instruction.detail
    fixed = {}
    code = bytearray(instruction.code)
    if detail.repeats or detail.row.properties & Property.REP:
        fixed = {1: random.randrange(20), 6: data + 0x1000, 7: data + 0x1800}
    if detail.row.properties & (Property.XLAT | Property.MASKSTORE):
        fixed = {3: data + 0x800, 7: data + 0x1000}
    if detail.has_memory and random.random() < 0.9 and not detail.row.properties & Property.VSIB:
        place = data + 0x800 + 64 * random.randrange(64)
        if detail.segment == "fs":
            place -= 0 if arch.bits != 64 else DATA + 0x10
        at, size = detail.displacement_offset, detail.displacement_size
        index = random.randrange(32) if detail.index >= 0 else 0
        if detail.pc_relative:
            code[at : at + 4] = (place - instruction.end).to_bytes(4, "little", signed=True)
        elif detail.base < 0:
            if size > 1:
                field = (place - index * detail.scale) & (1 << 8 * size) - 1
                code[at : at + size] = field.to_bytes(size, "little")
                fixed[detail.index] = index
        elif detail.base != detail.index:
            if size > 1:
                code[at : at + size] = random.randrange(512).to_bytes(size, "little")
            displacement = (
                int.from_bytes(code[at : at + size], "little", signed=True) if size else 0
            )
            fixed[detail.index] = index
            if detail.base != 4:
                fixed[detail.base] = place - displacement - index * detail.scale
    fixed.pop(-1, None)
    fixed.pop(4, None)
    return arch.decode(bytes(code), start_of(arch)), {
        n: value & (1 << max(arch.bits, 32)) - 1 for n, value in fixed.items()
    }


def copy_record(copy, step, arch):
    scratch = arch.registers.index(copy.scratch) if copy.scratch else NO_REGISTER
    pushed = dict(copy.pushed)
    flat = [n for at, original in copy.boundaries for n in (at, pushed.get(at, 0), original)]
    flat += [0] * (3 * 48 - len(flat))
    return COPY.pack(
        copy.address, copy.scratch_value, len(copy.code), step, copy.fixups.value, scratch,
        len(copy.boundaries), copy.overwrites, copy.code, *flat,
    )  # fmt: skip


# Where copies run: one that all addresses are near to, and one that they are not.
PLACES = {64: (NEAR, FAR), 32: (NEAR,), 16: (0x1A00,)}


def copies_of(run, arch):
    """Make every copy that the verdicts allow: stepped in place, stepped near and far, free near
    and far."""
    records = []
    if len(run) == 1:
        verdict = insn.judge(run[0])
        if verdict.allows(Method.INLINE):
            at = run[0].address
            plain = insn.Relocated(at, run[0].code, inline_fixups(run[0]), ((0, at),))
            records.append(copy_record(plain, STEP, arch))
    for to in PLACES[arch.bits]:
        for back, calls in ((None, False), (run[-1].end, False), (run[-1].end, True)):
            if back is None and len(run) > 1:
                continue
            try:
                copy = insn.relocate(run, to, back=back, expand_calls=calls)
            except insn.NotRelocatable:
                continue
            records.append(copy_record(copy, STEP if back is None else FREE, arch))
            if back is not None:
                records.append(copy_record(copy, WALK, arch))
    return records


def inline_fixups(instruction):
    """Tell what is left of the fixups of a copy when the instruction is stepped where it is."""
    if not insn.judge(instruction).allows(Method.STEP):
        return Fixups.NONE
    copy = insn.relocate(instruction, instruction.address)
    return copy.fixups & (Fixups.PUSHED_TRAP_FLAG | Fixups.LOADED_FLAGS)


def usable(instruction):
    name = instruction.name
    if name in SKIPPED_NAMES or instruction.flow is Flow.SYSTEM_CALL:
        return False
    start = start_of(instruction.arch)
    if instruction.target is not None and start <= instruction.target < instruction.end + 64:
        return False  # it would run in circles
    if instruction.arch.bits == 16 and (instruction.target or 0) >= 0x1000:
        return False  # it could lead into the copy, or out of the segment
    return insn.judge(instruction).probeable


def cases(random, arch, per_row, states, rows=ROWS):
    """Yield (instructions, registers to set, how many states) for samples of every row."""
    for row in rows:
        for _ in range(per_row):
            try:
                instruction, fixed = aimed(sample(row, random, arch.bits), arch, random)
            except insn.InsnError:
                continue
            if usable(instruction):
                yield [instruction], fixed, states


def runs(random, arch, count, states):
    """Yield runs of several instructions, for trampolines."""
    plain = [row for row in ROWS if not row.refusal]
    while count:
        run, fixed, address = [], {}, start_of(arch)
        for _ in range(random.randrange(2, 5)):
            try:
                instruction, more = aimed(
                    sample(random.choice(plain), random, arch.bits), arch, random
                )
            except insn.InsnError:
                break
            instruction = arch.decode(instruction.code, address)
            if not usable(instruction) or not insn.judge(instruction).allows(Method.JUMP):
                break
            run.append(instruction)
            fixed |= more
            address = instruction.end
        if len(run) > 1 and sum(i.length for i in run) <= 64:
            count -= 1
            yield run, fixed, states


class Result:
    """What the harness said about one case."""

    def __init__(self, run, line, states):
        ran, unimplemented, faults, mismatches, first = line.split(b" ", 4)
        self.run = run
        self.ran, self.unimplemented = int(ran), int(unimplemented)
        self.faults, self.mismatches = int(faults), int(mismatches)
        self.first = first.decode().strip()
        self.states = states

    def __repr__(self):
        text = "; ".join(f"{i.code.hex()} {i.text}" for i in self.run)
        return f"{text}: {self.mismatches} of {self.ran}: {self.first}"


def let_the_cpu_run(harness, arch, chosen, random, memory, *, wants_states=False):
    """Hand all cases to the harness and read what it says."""
    parts, kept = [memory], []
    for run, fixed, states in chosen:
        records = copies_of(run, arch)
        if not records and not wants_states:
            continue
        code = b"".join(instruction.code for instruction in run)
        mask = sum(1 << n for n in fixed)
        values = [fixed.get(n, 0) for n in range(16)]
        parts.append(
            INPUT.pack(
                random.getrandbits(64), run[0].address, (1 << 64) - 1, mask, *values, states,
                len(code), len(records), int(wants_states), arch.bits, 0, code,
            )
        )  # fmt: skip
        parts += records
        kept.append((run, states))
    done = subprocess.run([harness], input=b"".join(parts), capture_output=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)
    output, at, results = done.stdout, 0, []
    for run, states in kept:
        seen = []
        for _ in range(states if wants_states else 0):
            before = STATE.unpack_from(output, at)
            after = STATE.unpack_from(output, at + STATE.size)
            at += 2 * STATE.size
            seen.append((before, after, output[at : at + 2 * AREA]))
            at += 2 * AREA
        end = output.index(b"\n", at)
        results.append(Result(run, output[at:end], seen))
        at = end + 1
    return results


@pytest.mark.parametrize("name", ["x86_64", "x86_32", "x86_16"])
def test_every_copy_does_what_the_instruction_does_in_place(harness, name):
    arch = insn.arch(name)
    random = Random(SEED)
    memory = random.randbytes(2 * AREA)
    results = let_the_cpu_run(harness, arch, cases(random, arch, ROUNDS, 5), random, memory)
    pairs = sum(result.ran for result in results)
    wrong = [result for result in results if result.mismatches]
    print(f"seed {SEED}: {len(results)} instructions, {pairs} pairs")
    assert wrong == []
    assert pairs > 20_000 * ROUNDS


def forms_of(path, arch, random, limit):
    """Yield every form of instruction in a program's text, made to address memory that is there."""
    seen = set()
    for stretch in insn.open_image(path).text:
        code, offset = stretch.code, 0
        while offset < min(len(code), limit):
            try:
                instruction = arch.decode(code[offset : offset + 15], CODE)
            except insn.InsnError:
                offset += 1
                continue
            offset += instruction.length
            detail = instruction.detail
            form = (
                detail.row.number, detail.encoding, detail.extension, detail.operand_size,
                detail.address_size, detail.segment, detail.lock, detail.repeat, detail.modrm >> 6,
                detail.base >= 0, detail.index >= 0, detail.pc_relative, detail.mask > 0,
                detail.zeroing,
            )  # fmt: skip
            if form in seen:
                continue
            seen.add(form)
            instruction, fixed = aimed(instruction.code, arch, random)
            if usable(instruction):
                yield [instruction], fixed, 5


PROGRAMS = [
    pytest.param("libc.so.6", 1 << 30, id="libc", marks=pytest.mark.slow),
    pytest.param("libcrypto.so.*", 1 << 30, id="libcrypto", marks=pytest.mark.torture),
    pytest.param("libpython3.*.so.*", 1 << 30, id="libpython", marks=pytest.mark.torture),
    pytest.param("_multiarray_umath.*.so", 1 << 30, id="numpy", marks=pytest.mark.torture),
]


def library(pattern):
    """Find a shared library of this machine, or of numpy, by its file name."""
    places = [Path("/lib/x86_64-linux-gnu"), Path("/usr/lib/x86_64-linux-gnu")]
    places.append(Path(sysconfig.get_config_var("LIBDIR")))
    places.append(Path(np.__file__).parent / "_core")
    places.append(Path(np.__file__).parent / "core")  # before numpy 2
    found = [path for place in places for path in sorted(place.glob(pattern))]
    assert found, f"{pattern} is not on this machine: install it"
    return found[0]


@pytest.mark.parametrize(("name", "limit"), PROGRAMS)
def test_every_form_of_instruction_in_a_library_is_copied_right(harness, name, limit):
    arch = insn.arch("x86_64")
    random = Random(SEED + 4)
    memory = random.randbytes(2 * AREA)
    chosen = forms_of(library(name), arch, random, limit)
    results = let_the_cpu_run(harness, arch, chosen, random, memory)
    wrong = [result for result in results if result.mismatches]
    print(f"{name}: {len(results)} forms, {sum(r.ran for r in results)} pairs")
    assert wrong == []
    assert len(results) > 500


@pytest.mark.slow
def test_every_row_that_may_be_probed_is_tried_or_left_out_by_name():
    tried = set()
    for name, per_row in (("x86_64", 14), ("x86_32", 6)):
        for (instruction,), _, _ in cases(Random(SEED + 3), insn.arch(name), per_row, 5):
            tried.add(instruction.detail.row.number)
    untried = [row for row in ROWS if row.number not in tried and not row.refusal]
    assert {row.names[0] for row in untried} <= SKIPPED_NAMES


@pytest.mark.torture
@pytest.mark.parametrize(
    ("name", "per_row", "in_a_row", "pairs"),
    [("x86_64", 14, 3000, 1_000_000), ("x86_32", 8, 2000, 200_000), ("x86_16", 8, 2000, 100_000)],
)
def test_a_million_pairs_of_instruction_and_state_agree(harness, name, per_row, in_a_row, pairs):
    arch = insn.arch(name)
    random = Random(SEED + 3)
    memory = random.randbytes(2 * AREA)
    chosen = list(cases(random, arch, per_row, 5))
    results = let_the_cpu_run(harness, arch, chosen, random, memory)
    results += let_the_cpu_run(harness, arch, runs(random, arch, in_a_row, 5), random, memory)
    executed, tried = set(), set()
    for result in results:
        numbers = {instruction.detail.row.number for instruction in result.run}
        tried |= numbers
        if result.unimplemented < 5:  # of the five states in place
            executed |= numbers
    count = sum(result.ran for result in results)
    print(
        f"seed {SEED}, {name}: {len(results)} instructions and runs, {count} pairs;"
        f" {len(tried)} of {len(ROWS)} rows tried, {len(executed)} implemented by this CPU"
    )
    wrong = [result for result in results if result.mismatches]
    assert wrong == []
    assert count >= pairs


@pytest.mark.parametrize("name", ["x86_64", "x86_32", "x86_16"])
def test_a_relocated_run_does_what_the_instructions_do_in_place(harness, name):
    arch = insn.arch(name)
    random = Random(SEED + 1)
    memory = random.randbytes(2 * AREA)
    results = let_the_cpu_run(harness, arch, runs(random, arch, 300 * ROUNDS, 5), random, memory)
    wrong = [result for result in results if result.mismatches]
    assert wrong == []
    assert sum(result.ran for result in results) > 1_000 * ROUNDS


def wrong_code(copy):
    return dataclasses.replace(copy, code=bytes.fromhex("53") + copy.code[1:])


def wrong_fixups(copy):
    return dataclasses.replace(copy, fixups=Fixups.NONE)


def wrong_boundaries(copy):
    return dataclasses.replace(copy, boundaries=copy.boundaries[:1])


@pytest.mark.parametrize("spoil", [wrong_code, wrong_fixups, wrong_boundaries])
def test_the_harness_notices_a_wrong_copy(harness, monkeypatch, spoil):
    arch = insn.arch("x86_64")
    random = Random(SEED)
    memory = random.randbytes(2 * AREA)
    push = arch.decode(b"\x55", CODE)
    real = insn.relocate
    monkeypatch.setattr(insn, "relocate", lambda *some, **more: spoil(real(*some, **more)))
    (result,) = let_the_cpu_run(harness, arch, [([push], {}, 3)], random, memory)
    assert result.mismatches > 0


class Missing(Exception):
    """The address is not there."""


class Memory:
    """The memory that the harness has: code that can be read, data and stack that can be
    written."""

    def __init__(self, content, code):
        self.areas = {DATA: bytearray(content[:AREA]), STACK: bytearray(content[AREA:])}
        page = CODE & -AREA
        self.code = {
            page: b"\xcc" * (CODE - page) + code + b"\xcc" * (AREA - (CODE - page) - len(code))
        }

    def find(self, address, size, areas):
        for start, content in areas.items():
            if start <= address and address + size <= start + AREA:
                return content, address - start
        raise Missing(hex(address))

    def read(self, address, size):
        content, offset = self.find(address, size, self.areas | self.code)
        return bytes(content[offset : offset + size])

    def write(self, address, code):
        content, offset = self.find(address, len(code), self.areas)
        content[offset : offset + len(code)] = code

    @property
    def content(self):
        return bytes(self.areas[DATA] + self.areas[STACK])


@pytest.mark.parametrize("name", ["x86_64", "x86_32", "x86_16"])
def test_emulation_does_what_the_cpu_does(harness, name):
    assert compare_emulation(harness, insn.arch(name), 6 * ROUNDS, 4) > 500 * ROUNDS


@pytest.mark.torture
@pytest.mark.parametrize("name", ["x86_64", "x86_32", "x86_16"])
def test_emulation_does_what_the_cpu_does_from_many_states(harness, name):
    compared = compare_emulation(harness, insn.arch(name), 60, 10)
    print(f"seed {SEED}, {name}: {compared} emulated")
    assert compared > 10_000


def compare_emulation(harness, arch, per_row, states):
    """Emulate what the CPU has done, from the same states; return how often."""
    random = Random(SEED + 2)
    memory = random.randbytes(2 * AREA)
    rows = [row for row in ROWS if row.space <= Space.TWO]  # nothing of other maps is emulated
    chosen = [
        case
        for case in cases(random, arch, per_row, states, rows)
        if insn.judge(case[0][0]).allows(Method.EMULATE) and case[0][0].name != "xbegin"
    ]
    results = let_the_cpu_run(harness, arch, chosen, random, memory, wants_states=True)
    compared = 0
    for result in results:
        (instruction,) = result.run
        emulate = insn.emulator(instruction)
        for before, after, content in result.states:
            registers = dict(zip(arch.registers, before[:16], strict=False))
            registers[arch.program_counter] = instruction.address
            registers |= {arch.flags: before[17], "fs_base": before[18], "gs_base": 0}
            if arch.bits != 64:
                registers["fs_base"] = 0
            space = Memory(memory, instruction.code)
            signal, ip = after[19], after[16]
            try:
                emulate(registers, space)
            except Missing:
                assert signal, instruction
                assert ip == instruction.address, instruction
                continue
            except insn.NotEmulable:
                # No program can be there: makers of CPUs differ in where they report it.
                assert signal, instruction
                continue
            where = (instruction, [hex(n) for n in before], [hex(n) for n in after])
            count = 16 if arch.bits == 64 else 8
            names = arch.registers[:count]
            assert {n: hex(registers[n]) for n in names} == {
                n: hex(value) for n, value in zip(names, after[:count], strict=True)
            }, where
            assert registers[arch.program_counter] == ip, where
            assert (registers[arch.flags] ^ after[17]) & ~0x10100 == 0, where
            assert space.content == content, where
            compared += 1
    return compared
