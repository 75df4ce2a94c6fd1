"""The forms in which a jump is written over code, one site alone and many together."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
from elf_files import EXECUTABLE, Elf, Symbol
from insn_corpus import cases

import insn
from insn import JumpForm, open_image, padding
from insn.window import JUMP_FORMS, REASONS, Windows

SYSTEM = Path("/usr/lib/x86_64-linux-gnu")
FILES = [SYSTEM / "libc.so.6", SYSTEM / "libcrypto.so.3", Path("/usr/bin/python3")]
BASE = 0x401000
FORM_NUMBERS = {form: number for number, form in enumerate(JUMP_FORMS)}


def image_of(text, **fields):
    parts = [bytes.fromhex(part) for part in text.split("/")]
    symbols, at = [], BASE
    for part, name in zip(parts, "fgh", strict=False):
        code = part.rstrip(b"\xcc")
        symbols.append(Symbol(name, at, len(code)))
        at += len(part)
    # What follows is no padding: the trap behind it is entered from nowhere, but has a symbol.
    code = b"".join(parts)
    symbols.append(Symbol("end", BASE + len(code), 8))
    return open_image(Elf(code=code + b"\x90" * 7 + b"\xc3", symbols=symbols, **fields).build())


@pytest.mark.parametrize("case", cases("windows_x86.txt"))
def test_forms_are_as_listed(case):
    text, offset, expected, reason = case
    address = BASE + int(offset)
    found = Windows(image_of(text)).window(address)
    written = "-"
    if found.form:
        hole = str(found.hole - BASE) if found.hole else "-"
        written = f"{found.form} {found.size} {found.end - BASE} {hole}"
    assert written == expected
    assert (found.reason.code if found.reason else "-") == reason
    if found.form:
        assert found.instructions[0].address == address
        assert found.instructions[-1].end == found.end


def test_a_punned_jump_leads_where_the_bytes_that_stay_allow():
    window = Windows(image_of("4889e5 90 75fd c3")).window(BASE)
    assert window.form is JumpForm.PUNNED
    # e9 xx xx | 90 75: the distance is 0x7590xxxx.
    assert (window.low, window.high) == (BASE + 5 + 0x75900000, BASE + 5 + 0x75910000)
    assert window.jump_bytes(window.low) == ((BASE, bytes.fromhex("e90000")),)
    assert window.jump_bytes(window.high - 1) == ((BASE, bytes.fromhex("e9ffff")),)
    for wrong in (window.low - 1, window.high, 0, BASE):
        with pytest.raises(insn.OutOfReach):
            window.jump_bytes(wrong)


def test_a_punned_distance_may_be_negative():
    window = Windows(image_of("4889e5 90 ebfd 90")).window(BASE)
    # e9 xx xx | 90 eb: the distance is 0xeb90xxxx, that is -0x14700000 + xxxx.
    assert window.low == (BASE + 5 - 0x14700000) % (1 << 64)
    trampoline = window.low + 0x1234
    ((at, code),) = window.jump_bytes(trampoline)
    assert (at, code) == (BASE, bytes.fromhex("e93412"))


def test_a_short_jump_is_written_after_the_long_one():
    window = Windows(image_of("31c0 c3 / 4889e5 4889e5 c3 cccccccccc")).window(BASE)
    assert window.jump_bytes(BASE + 0x1000) == (
        (BASE + 10, insn.X86_64.jump(BASE + 10, BASE + 0x1000)),
        (BASE, bytes.fromhex("eb08")),
    )


def test_no_form_no_bytes():
    window = Windows(image_of("0f05 c3")).window(BASE)
    with pytest.raises(insn.OutOfReach):
        window.jump_bytes(BASE)


def test_forms_can_be_left_out():
    windows = Windows(image_of("31c0 c3 / 4889e5 4889e5 c3 cccccccccc"))
    assert windows.window(BASE, forms=[JumpForm.JUMP]).form is None
    assert windows.window(BASE, forms=[JumpForm.PUNNED]).form is JumpForm.PUNNED
    assert windows.window(BASE, forms=[JumpForm.JUMP, JumpForm.SHORT]).form is JumpForm.SHORT
    assert windows.window(BASE + 3, forms=[JumpForm.SHORT]).form is JumpForm.SHORT


def test_an_instruction_that_marks_an_indirect_target_is_entered():
    image = image_of("55 f30f1efa 4889e5 c3")
    found = Windows(image).window(BASE)
    assert found.reason.code == "entered-inside"
    assert BASE + 1 in Windows(image).map.entries


def arrives(text, base, address, trampoline):
    """Follow at most two jumps: whether they lead to the trampoline."""
    for _ in range(2):
        found = insn.X86_64.decode(bytes(text[address - base : address - base + 15]), address)
        assert found.flow is insn.Flow.JUMP
        if found.target % (1 << 64) == trampoline:
            return True
        address = found.target
    return False


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_written_leads_to_the_trampoline_and_changes_nothing_else(path):
    windows = Windows(open_image(path))
    stretch = max(windows.map.image.text, key=lambda stretch: len(stretch.code))
    every = windows.map.instructions["address"]
    every = every[(every >= stretch.address) & (every < stretch.end - 64)]
    rows = windows.judge(every)
    generator = np.random.default_rng(1)
    for form in JumpForm:
        chosen = np.flatnonzero(rows["form"] == FORM_NUMBERS[form])
        assert len(chosen) > 500, form
        for row in rows[generator.choice(chosen, 300, replace=False)]:
            address, end, size = int(row["address"]), int(row["end"]), int(row["size"])
            low, high = int(row["low"]), int(row["high"])
            offset = (high - low) % (1 << 64) // 3
            trampoline = (low + offset) % (1 << 64)
            text = bytearray(stretch.code)
            changed = set()
            for at, code in windows.jump_bytes(row.reshape(1), [trampoline])[0]:
                text[at - stretch.address : at - stretch.address + len(code)] = code
                changed |= set(range(at, at + len(code)))
            assert arrives(text, stretch.address, address, trampoline)
            hole = int(row["hole"])
            allowed = set(range(address, address + size)) | set(range(hole, hole + 5))
            assert changed <= allowed
            assert address + size <= end + int(row["padding"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_holes_are_bytes_that_nothing_uses(path):
    windows = Windows(open_image(path))
    records, holes = windows.map.instructions, windows.holes
    assert len(holes) > 1000
    assert (np.diff(holes.astype(np.int64)) >= 5).all()
    assert not np.isin(windows.map.entries, (holes[:, None] + np.arange(5, dtype="u8"))).any()
    nops = {b"\xcc", b"\x90", *windows.map.image.arch.entry_marks}
    at = np.searchsorted(records["address"], holes)
    assert (records["address"][at[::97]] <= holes[::97] + 15).all()
    for hole in holes[::97].tolist():
        inside = records[np.searchsorted(records["address"], hole, side="right") - 1]
        found = windows.map.image.instruction_at(int(inside["address"]))
        assert found.code in nops or found.name in ("nop", "xchg"), found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_sites_that_are_planned_together_leave_each_other_alone(path):
    windows = Windows(open_image(path))
    every = windows.map.instructions["address"]
    middle = len(every) // 2
    sites = np.random.default_rng(2).choice(every[middle : middle + 9000], 3000, replace=False)
    taken = [(int(every[middle + 100]), int(every[middle + 140]))]
    rows = windows.plan(sites, taken)
    assert (rows["address"] == sites).all()
    alone = windows.judge(sites)
    used, written = set(sites.tolist()), set()
    for low, high in taken:
        used |= set(range(low, high))
    for row, single in zip(rows, alone, strict=True):
        form = JUMP_FORMS[row["form"]]
        address, end = int(row["address"]), int(row["end"])
        if form is None:
            if REASONS[row["reason"]].code == "overlaps":
                assert int(row["target"]) in used
            continue
        assert single["form"]
        tail = end + int(row["padding"])
        depends = max(tail, address + 5) if form is not JumpForm.SHORT else tail
        assert used.isdisjoint(range(address + 1, depends))
        mine = set(range(address, address + int(row["size"])))
        if form is JumpForm.SHORT:
            hole = range(int(row["hole"]), int(row["hole"]) + 5)
            assert used.isdisjoint(hole)
            mine |= set(hole)
        assert written.isdisjoint(mine)
        written |= mine
    counts = np.bincount(rows["form"], minlength=4)
    assert counts[1] > 500
    assert counts[2] > 5
    assert (rows["reason"] == [r.code if r else "" for r in REASONS].index("overlaps")).any()


def test_of_two_sites_too_near_the_second_gets_the_jump():
    windows = Windows(image_of("4889e5 4889e5 4889e5 c3"))
    rows = windows.plan([BASE + 3, BASE])
    assert [REASONS[n].code if n else "-" for n in rows["reason"]] == ["-", "overlaps"]
    assert int(rows["target"][1]) == BASE + 3
    assert not windows.judge([BASE + 3, BASE])["reason"].any()


def test_a_site_in_what_is_taken_overlaps():
    windows = Windows(image_of("4889e5 4889e5 4889e5 4889e5 4889e5 c3"))
    rows = windows.plan([BASE, BASE + 6], [(BASE + 4, BASE + 9), (BASE + 5, BASE + 6)])
    assert [REASONS[n].code for n in rows["reason"]] == ["overlaps", "overlaps"]
    assert not rows["form"].any()


def test_each_hole_is_given_away_once():
    text = "31c0 c3 / 31c0 c3 / 4889e5 4889e5 c3 cccccccccc"
    windows = Windows(image_of(text))
    rows = windows.plan([BASE, BASE + 3], forms=[JumpForm.SHORT])
    assert sorted(rows["form"].tolist()) == [0, FORM_NUMBERS[JumpForm.SHORT]]
    assert windows.judge([BASE, BASE + 3], forms=[JumpForm.SHORT])["form"].all()
    rows = windows.plan([BASE], [(BASE + 14, BASE + 15)], forms=[JumpForm.SHORT])
    assert not rows["form"].any()


def test_pieces_are_cut_and_left_out():
    low, high = np.array([10, 40], "u8"), np.array([27, 44], "u8")
    assert padding.slots(low, high, 5).tolist() == [10, 15, 20]
    pieces = np.array([10, 15, 20, 40], "u8")
    kept = padding.without(pieces, 5, np.array([14, 44], "u8"), np.array([16, 60], "u8"))
    assert kept.tolist() == [20]


def test_32_bit_code_has_the_same_forms():
    image = image_of("31c0 c3 / 89e5 89e5 89e5 c3 cccccccccc", machine=3, bits=32, kind=EXECUTABLE)
    assert image.arch.name == "x86_32"
    assert Windows(image).window(BASE).form is JumpForm.SHORT


def test_data_that_looks_like_padding_is_none():
    code = bytes.fromhex("31c0c3 4889e5 c3 0545454545 c3 9090909090")
    functions = [Symbol("f", BASE, 3), Symbol("g", BASE + 3, 4)]
    found = Windows(open_image(Elf(code=code, symbols=functions).build())).window(BASE)
    assert found.form is JumpForm.PUNNED
    functions[1] = Symbol("g", BASE + 3, 10)
    found = Windows(open_image(Elf(code=code, symbols=functions).build())).window(BASE)
    assert found.form is JumpForm.SHORT


@pytest.mark.parametrize("seed", range(60))
def test_whatever_a_file_holds_it_is_judged(seed):
    random = Random(seed)
    size = random.choice([0, 1, 3, 16, 64, 300])
    likely = bytes.fromhex("90 cc c3 55 eb 0f 1f 66 e8 ff 75")
    code = random.choice([random.randbytes(size), bytes(random.choices(likely, k=size))])
    base = random.choice([0, 0x1000, BASE, 0x7FFFFFFFF000, (1 << 64) - 0x1000, (1 << 32) - 64])
    symbols = [
        Symbol(f"f{n}", base + random.randrange(size + 1), random.choice([0, 1, 5, 1 << 40]))
        for n in range(random.randrange(4))
    ]
    image = open_image(Elf(code=code, base=base, symbols=symbols).build())
    windows = Windows(image)
    places = [(base + n) % (1 << 64) for n in range(-2, size + 4)] + [0, (1 << 64) - 1]
    assert len(windows.judge(places)) == len(windows.dead(places)) == len(places)
    assert len(windows.judge(places, 3)) == len(places)
    assert len(windows.plan([])) == 0
    for row in windows.plan(places, [(base, min(base + 2, (1 << 64) - 1)), (0, 1)]):
        window = windows.window_of(row)
        if window.form:
            assert window.end > window.address
            assert window.jump_bytes(window.low)
