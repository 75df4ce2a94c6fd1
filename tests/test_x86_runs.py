"""Runs of instructions with branches, as jumps displace them: the copies do what the CPU does.

Branches out of the run (in its midst, too) go to where they went, branches within it stay in the
copy, and those to its first instruction leave the copy: where that stood, a probe stands now.
"""

import os
from random import Random

import pytest
from test_x86_calls import memory_of, registers_of, run_of
from test_x86_cpu import PLACES, harness, let_the_cpu_run

import insn

__all__ = ["harness"]  # a fixture

SEED = int(os.environ.get("SEED", "1"))

# architecture | instructions | registers by number
RUNS = """
# over one of the run's own, or not
x86_64 | 85c0 7402 ffc1 90 |
x86_64 | 85c0 7402 ffc1 90 | 0=0
x86_64 | 85c0 0f8402000000 ffc1 90 |
x86_64 | a801 7b01 c3 90 |
x86_64 | e302 ffc0 90 90 |
x86_64 | e302 ffc0 90 90 | 1=0
x86_64 | 67e302 ffc0 90 90 | 1=0
x86_64 | eb01 c3 90 4889e5 |
x86_64 | e901000000 c3 90 |
x86_64 | 7400 7500 90 90 |
# out of it
x86_64 | 7440 90 90 90 |
x86_64 | ffc1 7840 ffc1 90 |
x86_64 | 90 0f8f40000000 ffc8 |
x86_64 | 4889e5 eb40 |
x86_64 | 90 e340 ffc0 90 | 1=0
x86_64 | 90 e240 ffc0 90 |
x86_64 | 90 e140 ffc0 90 |
x86_64 | 90 67e040 ffc0 90 |
x86_64 | ffc0 7440 7540 90 |
x86_64 | 31c0 7440 ffc8 7840 90 |
# in circles within it: each time round, but for the first instruction
x86_64 | 90 ffc0 e2fc 90 | 1=five
x86_64 | 90 ffc0 67e2fb 90 | 1=five
x86_64 | 90 31d2 e1fc 90 | 1=five
x86_64 | 90 ffc9 75fc 90 | 1=five
x86_64 | 90 ffc9 0f85f8ffffff 90 | 1=five
x86_64 | 90 ffc9 7402 ebfa 90 | 1=five
# to its first instruction
x86_64 | ffc9 75fc 90 | 1=five
x86_64 | ffc0 90 e2fb 90 | 1=five
# the ends: away for good
x86_64 | 5d c3 |
x86_64 | 4889e5 c20800 |
x86_64 | 90 f3c3 |
x86_64 | 4889e5 ffe0 | 0=landing
x86_64 | 90 ff20 | 0=data
x86_64 | 90 ff2424 |
x86_64 | 90 ff6424f8 |
x86_64 | 4157 ff2424 |
x86_64 | 90 ff25f9ffff1f |
x86_64 | 90 3effe2 | 2=landing
x86_64 | 55 4889e5 e840000000 |
x86_64 | 85c0 7403 c20800 90 |
# pushes and pops around them
x86_64 | 50 7401 90 58 |
x86_64 | 9c 7440 90 58 |
x86_32 | 85c0 7402 ffc1 90 |
x86_32 | 90 40 e2fd 90 | 1=five
x86_32 | e302 ffc0 90 90 | 1=0
x86_32 | 67e302 ffc0 90 90 |
x86_32 | 90 7840 48 90 |
x86_32 | 89e5 ffe0 | 0=landing
x86_32 | 5d c3 |
x86_32 | 55 89e5 e840000000 |
x86_16 | 85c0 7402 40 48 90 |
x86_16 | 90 40 e2fd 90 | 1=five
x86_16 | e340 90 90 | 1=0
x86_16 | 89e5 ffe0 | 0=landing
x86_16 | 5d c3 |
"""


@pytest.mark.parametrize("line", [line for line in RUNS.splitlines() if line and line[0] != "#"])
def test_a_run_with_branches_does_what_it_does_in_place(harness, line):
    name, text, registers = (part.strip() for part in line.split("|"))
    arch = insn.arch(name)
    run = run_of(arch, text)
    fixed = registers_of(arch, registers)
    for to in PLACES[arch.bits][:1]:  # it can be copied
        insn.relocate(run, to, back=run[-1].end, expand_calls=True)
    chosen = [(run, fixed, 60)]
    (result,) = let_the_cpu_run(harness, arch, chosen, Random(SEED), memory_of(arch))
    assert result.mismatches == 0, result
    assert result.ran >= 120


@pytest.mark.parametrize("text", ["90 ffc0 e2fc 90", "ffc9 7402 ebfa 90"])
def test_a_branch_within_the_run_leads_to_the_copy(text):
    arch = insn.arch("x86_64")
    run = run_of(arch, text)
    copy = insn.relocate(run, 0x2000_0000, back=run[-1].end)
    ends = range(copy.address, copy.address + len(copy.code))
    offset, inner, outer = 0, 0, 0
    while offset < len(copy.code):
        moved = arch.decode(copy.code[offset:], copy.address + offset)
        offset += moved.length
        if moved.target is not None:
            inner += moved.target in ends
            outer += moved.target in (run[0].address, run[-1].end)
    assert inner
    assert outer
