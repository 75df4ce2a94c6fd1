"""Ways out of functions, and Go's checks of the stack: bytes and what they are, one case a line."""

import pytest

import insn
from uprobes.errors import ProbeError
from uprobes.exits import find_exits
from uprobes.machine.go_checks import STACK_CHECKS

START = 0x1000

EXITS = """
c3                                      | 0            | it consists of its return
55 5d c3                                | 2            | one at the end
85 ff 74 01 c3 c3                       | 4 5          | two, one behind a branch
c2 0800                                 | 0            | one that pops arguments
f3 c3                                   | 0            | one with a prefix
eb fe                                   | no-exits     | an endless loop
0f0b                                    | no-exits     | a trap
c3 06                                   | no-exits     | a byte that is no 64-bit instruction
eb 7e c3                                | tail-call 0  | a jump out of it
75 7e c3                                | tail-call 0  | a conditional jump out of it
e9 fbffffff                             | no-exits     | to its own first instruction
90 e9 fafffff0 c3                       | tail-call 1  | out of it, backwards
75 fe eb fc c3                          | 4            | jumps inside, to the first byte
eb 01 c3 eb fd                          | 2            | jumps inside, across
eb 00                                   | tail-call 0  | a jump to the byte behind it
ff e0                                   | tail-call 0  | through a register
ff 25 00000000 c3                       | tail-call 0  | through memory
ff 24 24 c3                             | tail-call 0  | through the top of the stack: no index
3e ff e0 c3                             | 3            | of a switch, marked so
3e 41 ff e3 c3                          | 4            | the same, through r11
ff 24 c5 00000000 c3                    | 7            | of a switch, by a table of addresses
41 ff 24 c4 c3                          | 4            | the same, with a base register
e8 00000000 c3                          | 5            | a call is no way out
cf                                      | no-exits     | nor is a return from an interrupt
"""

CHECKS = """
493b6610 76 2d 4883ec18                 | 6   | cmp rsp, [r14+16]; jbe
493b6610 0f86 b5000000                  | 10  | with a long jump
4c8d6424c8 4d3b6610 76 10               | 11  | a larger frame: lea r12, [rsp-56]
4c8da42400feffff 4d3b6610 0f86 00010000 | 18  | a much larger one
4989e4 4981ec60ea0000 72 20 4d3b6610 76 1a | 18 | a huge one
4989e4 4981ec60ea0000 0f82 20000000 4d3b6610 0f86 1a000000 | 26 | the same with long jumps
64488b0c25f8ffffff 483b6110 76 2d       | 15  | before Go 1.17
64488b0c25f8ffffff 488d4424c0 483b4110 0f86 00010000 | 24 | the same, a larger frame
493b6618 76 2d                          | -   | another field
4883ec08                                | -   | none
493b6610 77 2d                          | -   | another jump
"""


def rows(text):
    return [
        [part.strip() for part in line.split("|")] for line in text.strip().splitlines() if line
    ]


@pytest.mark.parametrize(("code", "expected", "_what"), rows(EXITS))
def test_all_ways_out_of_a_function_are_found_or_it_is_refused(code, expected, _what):
    code = bytes.fromhex(code)
    scanned = insn.scan(code, START, insn.X86_64)
    wanted, *at = expected.split()
    if wanted.isdigit():
        found = find_exits(scanned, code, START, insn.X86_64)
        assert found == [START + int(offset) for offset in (wanted, *at)]
        return
    with pytest.raises(ProbeError) as refused:
        find_exits(scanned, code, START, insn.X86_64)
    assert refused.value.code == wanted
    assert at == [] or refused.value.address == START + int(at[0])


@pytest.mark.parametrize(("code", "expected", "_what"), rows(CHECKS))
def test_checks_of_the_stack_are_known_by_their_bytes(code, expected, _what):
    found = STACK_CHECKS["x86_64"].match(bytes.fromhex(code))
    assert (str(found.end()) if found else "-") == expected
