"""Known bugs of other tools (facts.md §16.2 to 16.4) that no other test here would notice.

The rest is named where it is tested, by number. U1 U9 U10 ssol and names, U3 U4 U5 calls, births,
U6 births, U11 U12 storm, U13 U26 U28 faults, cores, U14 to U16 U22 U25 registering, U17 policies,
U19 to U21 bad input, U24 hostile_unmaps. U8, U27 and U29 are about machines that can't be probed
live yet.

R-1 to R-5 R-7 to R-9 R-12 R-14 R-15 returns, R-4 R-7 R-9 leaving too, R-9 follow, R-10 R-13 R-16
hardened, R-11 hostile_jumps. R-6 is about machines with a link register.

O1 O16 O17 the programs of ubp (run, threads), O3 O8 O11 the windows of insn, O2 O4 O5 O9 O10 O13
installed, O6 O7 the patches of ubp and installed, O15 the relocations of insn. O12 and O14 are
about other machines; O18 cannot be: no handler runs behind a jump.
"""

import ctypes
import mmap
import os
import struct
from itertools import pairwise
from pathlib import Path

import live
import pytest

import uprobes

pytestmark = pytest.mark.live

UPROBE_PMU = Path("/sys/bus/event_source/devices/uprobe/type")
PERF_EVENT_OPEN, CLOEXEC = 298, 8


def test_more_threads_than_points_step_at_once_and_no_slot_is_shared(victim):
    """Case U2."""
    kinds = victim("kinds", 40, 12)
    specs = [kinds.spec(name) for name, hits in kinds.hits.items() if hits]
    wanted = {kinds.points[name]: hits * 40 * 12 for name, hits in kinds.hits.items()}
    with uprobes.attach(kinds.pid) as target:
        probes = target.register(specs, lambda hit: None, method="step").probes
        slots = []
        last = target.uprobe(kinds.points["push_rbp"], lambda hit: slots_now(hit, slots)).probes[0]
        status = live.run_to_the_end(target, kinds)
    assert status.code == 0
    assert kinds.finish()[0][:2] == [f"rounds {40 * 12}", "wrong 0"]
    assert {p.address: p.hits for p in probes} == {p.address: wanted[p.address] for p in probes}
    assert last.hits == 40 * 12
    starts = [address for address, _ in slots]
    assert len(set(starts)) == len(starts) > 20
    assert all(a + size <= b for (a, size), (b, _) in pairwise(slots))


def slots_now(hit, slots):
    """Take down where the copies stand, and how long they are."""
    slots[:] = sorted(
        (address, len(plan.copy.code)) for address, plan in hit.process.copies.items()
    )


@pytest.mark.parametrize("method", ["step", "inline"])
def test_the_instruction_behind_a_stepped_fork_is_hit_as_well(victim, method):
    """Case U7: the step is not forgotten for the event, in parent and child."""
    calls = victim("calls", "fork")
    with uprobes.attach(calls.pid, follow_forks=True) as target:
        probes = [
            target.uprobe(calls.points["raw_call_at"] + offset, lambda hit: None, method=how)
            for offset, how in ((0, method), (2, None), (9, None))
        ]
        calls.go()
        calls.go()
        status = target.run(live.PATIENCE)
    assert status is not None
    assert status.code == 0
    at, behind, further = (registration.probes[0].hits for registration in probes)
    # The children end by the same instruction, and do not come behind it again.
    assert (at, behind, further) == (5 + 5, 10, 10)


def test_a_probe_in_a_page_of_zeros_reaches_nobody_else(victim):
    """Case U18: the page is the kernel's own, and shown to every process."""
    memory = victim("memory")
    with uprobes.attach(memory.pid) as target:
        made = target.register([memory.spec("zeros"), memory.spec("hole")])
        for probe in made.probes:
            assert target.memory.read(probe.address, 2) == b"\xcc\0"
            assert target.memory.read(probe.address + 4096, 4096) == bytes(4096)
            assert target.read(probe.address, 4096) == bytes(4096)
        with mmap.mmap(-1, 4096) as ours:
            assert ours[:] == bytes(4096)
        assert [probe.address for probe in made.probes] == [
            memory.points["zeros"],
            memory.points["hole"],
        ]
    memory.go()
    assert memory.finish()[1] == 0


def kernel_uprobe(pid, address):
    """Have the kernel probe what stands at an address of a process; give what counts the hits on
    each CPU.
    """
    [(start, offset, path)] = [
        (start, offset, path)
        for start, end, _, offset, path in live.mappings(pid)
        if start <= address < end
    ]
    name = ctypes.create_string_buffer(os.fsencode(path))
    attributes = bytearray(128)
    struct.pack_into("<II", attributes, 0, int(UPROBE_PMU.read_text()), len(attributes))
    where = (ctypes.addressof(name), address - start + offset)
    struct.pack_into("<QQ", attributes, 56, *where)
    raw = (ctypes.c_char * len(attributes)).from_buffer(attributes)
    system = ctypes.CDLL(None, use_errno=True)
    events = [
        system.syscall(PERF_EVENT_OPEN, raw, -1, cpu, -1, CLOEXEC) for cpu in range(os.cpu_count())
    ]
    if min(events) < 0:
        pytest.skip(f"no uprobes of the kernel's: {os.strerror(ctypes.get_errno())}")
    return events


@pytest.mark.skipif(not UPROBE_PMU.exists(), reason="this kernel has no uprobes")
def test_probes_of_ours_and_of_the_kernel_count_beside_each_other(victim):
    """Case U23; where the kernel's breakpoint stands ours is refused."""
    kinds = victim("kinds", 1, 300)
    events = kernel_uprobe(kinds.pid, kinds.points["push_rbp"])
    try:
        with uprobes.attach(kinds.pid) as target:
            made = target.register([kinds.spec("push_rbp")])
            assert [error.code for error in made.refused] == ["trap-instruction"]
            specs = [kinds.spec(name) for name in ("mov_rip", "call_near", "push_r15")]
            probes = target.register(specs, lambda hit: None).probes
            status = live.run_to_the_end(target, kinds)
        counted = sum(struct.unpack("<Q", os.read(event, 8))[0] for event in events)
    finally:
        for event in events:
            os.close(event)
    assert status.code == 0
    assert kinds.finish()[0][:2] == ["rounds 300", "wrong 0"]
    assert counted == 300
    assert [probe.hits for probe in probes] == [300, 300, 300]


def test_one_slot_holds_different_instructions_one_after_the_other(victim):
    """Case U30: no CPU runs what stood there before."""
    kinds = victim("kinds", 3, 0)
    kinds.go()
    kinds.wait_for("running")
    seen = {}
    names = ["push_rbp", "mov_rip", "push_r15", "test_register", "sub_rsp"]
    with uprobes.attach(kinds.pid) as target:
        for number in range(600):
            probe = uprobes.Uprobe(
                kinds.pid,
                kinds.points[names[number % 5]],
                lambda hit: None,
                method=("boost", "step")[number // 5 % 2],
            )
            target.register_probes([probe])
            live.until(lambda probe=probe: probe.hits > 0, "a hit")
            copy = probe.point.plan.copy
            seen.setdefault(copy.address, set()).add(probe.address)
            target.unregister([probe])
    kinds.go()
    said, code = kinds.finish()
    assert (said[-1], code) == ("wrong 0", 0)
    assert any(len(addresses) > 1 for addresses in seen.values())
