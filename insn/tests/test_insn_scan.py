"""`scan` says what `decode` and `judge` say, for every byte string."""

import functools
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import insn
from insn import bulk
from insn.arch import Arch
from insn.bulk import FLOWS, KINDS, METHODS, RECORD, refusals, scan
from insn.elf import open_image
from insn.model import Method

LIBC = Path("/usr/lib/x86_64-linux-gnu/libc.so.6")
ARCHES = [insn.X86_64, insn.X86_32, insn.X86_16]
BASE = 0x401000


def one_by_one(code: bytes, address: int, arch: Arch) -> tuple:
    """What the record of the instruction that `code` begins with must hold."""
    try:
        instruction = insn.decode(code[:15], address, arch, check=False)
    except (insn.Undecodable, insn.Truncated) as error:
        return (address, 0, None, 0, 0, None, 0, frozenset(), {error.code})
    verdict = insn.judge(instruction)
    relative = instruction.pc_relative
    return (
        address,
        instruction.length,
        instruction.flow,
        relative.offset if relative else 0,
        relative.size if relative else 0,
        relative.kind if relative else None,
        relative.target if relative else 0,
        frozenset(method for method in Method if verdict.allows(method)),
        {(method, reason) for method, reason in verdict.refusals.items()},
    )


def from_record(record: np.void) -> tuple:
    reasons = refusals(int(record["verdict"]))
    return (
        int(record["address"]),
        int(record["length"]),
        FLOWS[record["flow"]],
        int(record["offset"]),
        int(record["size"]),
        KINDS[record["kind"]],
        int(record["target"]),
        frozenset(m for n, m in enumerate(METHODS) if int(record["methods"]) >> n & 1),
        set(reasons.items()) if record["length"] else {r.code for r in reasons.values()},
    )


def assert_agrees(code: bytes, arch: Arch) -> None:
    records = scan(code, BASE, arch)
    position = 0
    for record in records:
        assert from_record(record) == one_by_one(code[position:], BASE + position, arch)
        position += int(record["length"]) or 1
    assert position == len(code)
    every = scan(code, BASE, arch, starts=range(len(code)))
    for position, record in enumerate(every):
        assert from_record(record) == one_by_one(code[position:], BASE + position, arch)


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
@settings(max_examples=150, deadline=None)
@given(code=st.binary(max_size=60))
def test_scan_agrees_with_decode_on_any_bytes(arch, code):
    assert_agrees(code, arch)


PREFIXES = st.lists(st.sampled_from(bytes.fromhex("66 67 f2 f3 f0 2e 3e 64 65")), max_size=4).map(
    bytes
)
LEADS = st.sampled_from(
    [
        bytes.fromhex(t)
        for t in ("", "0f", "0f38", "0f3a", "c5", "c4", "62", "8f", "d5", "41", "48", "4f", "480f")
    ]
)


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
@settings(max_examples=200, deadline=None)
@given(prefixes=PREFIXES, lead=LEADS, rest=st.binary(min_size=12, max_size=20))
def test_scan_agrees_with_decode_behind_any_prefixes(arch, prefixes, lead, rest):
    assert_agrees(prefixes + lead + rest, arch)


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
@pytest.mark.parametrize(
    "lead", ["", "0f", "66 0f", "f3 48 0f", "0f 38", "66 0f 3a", "c5 f9", "c5 7c"]
)
def test_scan_agrees_with_decode_on_every_opcode_and_operand_form(arch, lead):
    prefix = bytes.fromhex(lead)
    forms = [
        prefix + bytes([opcode, modrm, 0x25]) + bytes(range(1, 10))
        for opcode in range(256)
        for modrm in sorted({4, 5, 6, 0x25, 0x44, 0x85, *range(0, 256, 11)})
    ]
    starts, width = range(0, 16 * len(forms), 16), 16
    code = b"".join(form.ljust(width, b"\x90") for form in forms)
    for start, record in zip(starts, scan(code, BASE, arch, starts=starts), strict=True):
        assert from_record(record) == one_by_one(code[start:], BASE + start, arch)


def test_scan_agrees_with_decode_on_vector_prefixes_with_any_fields():
    chance = random.Random(20260)
    forms = []
    for _ in range(12_000):
        lead = chance.choice([b"\x62", b"\xc4", b"\xc5", b"\x8f"])
        forms.append((lead + chance.randbytes(15))[:15] + b"\x90")
    code = b"".join(forms)
    starts = range(0, len(code), 16)
    for start, record in zip(starts, scan(code, BASE, starts=starts), strict=True):
        assert from_record(record) == one_by_one(code[start:], BASE + start, insn.X86_64)


@pytest.mark.slow
def test_scan_agrees_with_decode_on_all_of_libc_text():
    stretch = max(open_image(LIBC).text, key=lambda stretch: len(stretch.code))
    records = scan(stretch.code, stretch.address)
    ends = records["address"] + np.maximum(records["length"], 1)
    assert (ends[:-1] == records["address"][1:]).all()
    assert int(ends[-1]) == stretch.end
    # One in sixteen is looked at in detail: the pure Python side takes its time.
    for record in records[::16]:
        start = int(record["address"]) - stretch.address
        expected = one_by_one(stretch.code[start:], int(record["address"]), insn.X86_64)
        assert from_record(record) == expected


@pytest.mark.parametrize(("chunk", "lane"), [(1 << 8, 16), (1 << 12, 40), (1 << 20, 1000)])
def test_how_the_work_is_cut_does_not_change_what_is_found(monkeypatch, chunk, lane):
    stretch = max(open_image(LIBC).text, key=lambda stretch: len(stretch.code))
    code = stretch.code[0x20000:0x24000]
    expected = scan(code, BASE)
    monkeypatch.setattr(bulk, "_CHUNK", chunk)
    monkeypatch.setattr(bulk, "_LANE", lane)
    assert (scan(code, BASE) == expected).all()


def test_random_bytes_are_cut_the_same_way_however_the_work_is_cut(monkeypatch):
    code = random.Random(7).randbytes(20_000)
    expected = scan(code, BASE)
    monkeypatch.setattr(bulk, "_LANE", 24)
    assert (scan(code, BASE) == expected).all()
    monkeypatch.setattr(bulk, "_CHUNK", 700)
    assert (scan(code, BASE) == expected).all()


@pytest.mark.parametrize("size", range(40))
def test_the_end_of_the_code_is_no_special_place(size):
    code = bytes.fromhex(
        "48 8b 05 10 20 30 40 e8 01 02 03 04 66 66 2e 0f 1f 84 00 00 00 00 00 48 b8"
    )
    assert_agrees((code * 2)[:size], insn.X86_64)


def test_no_code_gives_no_records():
    assert len(scan(b"", 0)) == 0
    assert len(scan(b"\x90", 0, starts=[])) == 0


def test_a_start_outside_of_the_code_is_an_error():
    with pytest.raises(IndexError, match="has 3 bytes"):
        scan(b"\x90\x90\x90", 0, starts=[3])
    with pytest.raises(IndexError):
        scan(b"\x90\x90\x90", 0, starts=[-1])


def test_starts_may_come_in_any_order_and_twice():
    records = scan(bytes.fromhex("90 50 c3"), 0x1000, starts=[2, 0, 2])
    assert records["address"].tolist() == [0x1002, 0x1000, 0x1002]
    assert [FLOWS[flow] for flow in records["flow"]] == [
        insn.Flow.RETURN,
        insn.Flow.NEXT,
        insn.Flow.RETURN,
    ]


def test_too_many_prefixes_are_no_instruction():
    records = scan(b"\x66" * 15 + b"\x90", 0, starts=[0, 1])
    assert records["length"].tolist() == [0, 15]


def test_targets_wrap_as_the_program_counter_does():
    backwards = bytes.fromhex("e9 00 ff ff ff")
    assert int(scan(backwards, 0x10)[0]["target"]) == (0x15 - 0x100) & (1 << 64) - 1
    assert int(scan(backwards, 0x10, insn.X86_32)[0]["target"]) == 0xFFFFFF15


def test_equal_reasons_share_one_number():
    records = scan(bytes.fromhex("cc cc 0f0b 0f0b"), 0)
    assert len(set(records["verdict"].tolist())) == 2
    assert {r.code for r in refusals(int(records[0]["verdict"])).values()} == {"trap-instruction"}


def test_the_record_is_as_documented():
    assert RECORD.itemsize == 24
    assert RECORD.names == (
        "address", "length", "flow", "offset", "size", "kind", "methods", "verdict", "target",
    )  # fmt: skip


@pytest.mark.parametrize("chunk", [1 << 7, 1 << 21])
def test_at_restarts_decoding_begins_anew(monkeypatch, chunk):
    monkeypatch.setattr(bulk, "_CHUNK", chunk)
    monkeypatch.setattr(bulk, "_LANE", 16)
    chance = random.Random(5)
    code = chance.randbytes(1500)
    restarts = sorted(chance.sample(range(1, len(code)), 70))
    found = scan(code, BASE, restarts=restarts)
    pieces = []
    for start, end in zip([0, *restarts], [*restarts, len(code)], strict=True):
        # Up to the next restart, though the last instruction may be longer.
        piece = scan(code[start:], BASE + start)
        pieces.append(piece[piece["address"] < BASE + end])
    assert (found == np.concatenate(pieces)).all()


def test_threads_that_scan_at_once_get_the_same_answers(monkeypatch):
    monkeypatch.setattr(bulk, "_lookup", functools.cache(bulk._lookup.__wrapped__))
    stretch = max(open_image(LIBC).text, key=lambda stretch: len(stretch.code))
    pieces = [stretch.code[at : at + 50_000] for at in range(0, 400_000, 50_000)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda piece: scan(piece, BASE), pieces))
    for piece, records in zip(pieces, found, strict=True):
        assert (records == scan(piece, BASE)).all()


@pytest.mark.torture
@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: arch.name)
def test_scan_agrees_with_decode_on_megabytes_of_random_bytes(arch):
    code = random.Random(f"4 {arch.name}").randbytes(4 << 20)
    records = scan(code, BASE, arch)
    ends = records["address"] + np.maximum(records["length"], 1)
    assert (ends[:-1] == records["address"][1:]).all()
    for record in records[::16]:
        start = int(record["address"]) - BASE
        assert from_record(record) == one_by_one(code[start : start + 16], BASE + start, arch)
