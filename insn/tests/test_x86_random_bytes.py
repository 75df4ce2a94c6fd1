"""Random byte strings, read by the x86 rows and by four decoders that others wrote.

capstone, iced-x86 and Zydis read every string, objdump some. Length, flow and target must agree,
and so must whether there is an instruction at all, but for the differences that are listed by name
in `x86_differences` and `insn.second_known`. `make torture` reads 10,000,000 strings; `SEED` and
`STRINGS` in the environment choose others.
"""

import os
from random import Random

import pytest
from x86_comparison import Comparison
from x86_differences import ALONE, SILENT, Case, explain, explains_flow
from x86_others import ADDRESS

import insn

SEED = int(os.environ.get("SEED", "1"))
STRINGS = int(os.environ.get("STRINGS", "10000000"))
BATCH = 50_000
OBJDUMP_ASKED = 1_000
"""Of each batch: it takes thirty times as long as the others."""
ENOUGH = 100
"""So many differences that are not listed end a search."""
MODES = (64, 32, 16)


def random_bytes(random):
    """Make bytes that are often an instruction: prefixes and escapes are likelier than chance."""
    body = random.randbytes(15)
    kind = random.random()
    prefixes = bytes(
        random.choices(b"\x66\xf2\xf3\x67\x2e\x64\xf0\x48\x41\x4f\x40", k=random.randrange(4))
    )
    if kind < 0.2:
        return (prefixes + body)[:15]
    if kind < 0.5:
        escape = random.choice((b"\x0f", b"\x0f", b"\x0f\x38", b"\x0f\x3a"))
        return (prefixes + escape + body)[:15]
    if kind < 0.65:
        return (bytes((0xC4, random.choice(b"\xe1\xe2\xe3\xc1\x62\xa3"))) + body)[:15]
    if kind < 0.9:
        escape = bytes(
            (0x62, random.choice(b"\xf1\xf2\xf3\xf5\xf6\xe1\xd2\xb3"), random.randrange(256) | 4)
        )
        return (escape + body)[:15]
    return (random.choice((b"\xc5", b"\x8f\xe8", b"\x8f\xe9", b"\x8f\xea")) + body)[:15]


def compare_strings(zydis, mode, count, folder):
    """Read so many random strings by all decoders: every difference must be a listed one."""
    random = Random(f"{SEED} {mode}")
    comparison = Comparison(mode, zydis, folder)
    while comparison.strings < count and len(comparison.unlisted) < ENOUGH:
        codes = [random_bytes(random) for _ in range(min(BATCH, count - comparison.strings))]
        comparison.read(codes, OBJDUMP_ASKED)
    print(f"seed {SEED}")
    comparison.check()
    assert comparison.instructions > comparison.strings // 5


@pytest.mark.needs("objdump", package="binutils")
@pytest.mark.parametrize("mode", MODES)
def test_random_bytes_are_read_as_four_decoders_read_them_or_the_difference_is_listed(
    zydis, mode, tmp_path
):
    compare_strings(zydis, mode, 20_000, tmp_path)


@pytest.mark.torture
@pytest.mark.needs("objdump", package="binutils")
@pytest.mark.parametrize("mode", MODES)
def test_ten_million_random_byte_strings_are_read_as_four_decoders_read_them(zydis, mode, tmp_path):
    compare_strings(zydis, mode, -(-STRINGS // len(MODES)), tmp_path)


def test_a_difference_that_nobody_examined_is_not_covered():
    plain = insn.decode(b"\x90", ADDRESS)
    for listed in (*SILENT.values(), *ALONE.values()):
        assert explain(listed, Case(plain.code, 64, plain, "nop")) is None
    assert not explains_flow("zydis", plain, insn.Flow.JUMP)
