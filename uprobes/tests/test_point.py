"""Probe points apart from any process: what they know when their code is gone."""

from types import SimpleNamespace

import pytest

import insn
from uprobes import Uprobe
from uprobes.errors import NotMapped
from uprobes.point import ProbePoint

PUSH_RBP = bytes.fromhex("55 4889e5")


def process_of(*points, readable=False):
    """Make what a point needs of its process."""

    def judge(address):
        if not readable:
            raise NotMapped("nothing is mapped there", address=address)
        return insn.judge(insn.decode(b"\x90", address, insn.X86_64))

    machine = SimpleNamespace(arch=insn.X86_64)
    return SimpleNamespace(points={p.address: p for p in points}, judge=judge, machine=machine)


def point_at(address, code=b""):
    point = ProbePoint(process_of(), address)
    point.code = code
    return point


def test_a_point_judges_the_code_that_was_there_when_nothing_is_there_any_more():
    point = point_at(0x1000, PUSH_RBP)
    assert point.verdict.instruction.code == PUSH_RBP[:1]


def test_a_point_does_not_look_at_what_is_mapped_in_its_place_now():
    point = point_at(0x1000, PUSH_RBP)
    point.process = process_of(readable=True)
    assert point.verdict.instruction.code == PUSH_RBP[:1]


def test_a_point_that_is_in_looks_at_the_code_that_is_there():
    point = point_at(0x1000, PUSH_RBP)
    point.process = process_of(point, readable=True)
    assert point.verdict.instruction.code == b"\x90"


def test_a_point_whose_code_nobody_kept_says_so_and_its_probe_has_no_method():
    probe = Uprobe(1, 0x1000)
    probe.point = point_at(0x1000)
    with pytest.raises(NotMapped):
        _ = probe.point.verdict
    assert (probe.method, probe.verdict, probe.instruction, probe.why_not) == (None, None, None, {})


def test_what_hits_took_is_counted_on_at_a_place_that_follows_one_that_is_gone():
    former, other = point_at(0x1000), point_at(0x2000)
    former.time_ns, former.timed = 300, 3
    other.take_times(former)
    assert (other.time_ns, other.timed) == (300, 3)


def test_what_hits_took_stays_with_a_place_that_is_still_there():
    former, other = point_at(0x1000), point_at(0x2000)
    former.time_ns, former.timed = 300, 3
    former.process = process_of(former)
    other.take_times(former)
    other.take_times(None)
    assert (other.time_ns, other.timed) == (0, 0)
