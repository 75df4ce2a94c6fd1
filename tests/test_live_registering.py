"""Probes that come and go while they are hit: from outside, from handlers, from threads."""

import threading
from pathlib import Path

import live
import pytest

import insn
import uprobes
import uprobes.process
from uprobes import Method, ProbeState

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

KINDS = ("push_rbp", "mov_rip", "call_near", "jcc_taken", "rep_movsb", "nop_short", "system_call")


def running(victim, threads=4, *only):
    """Start a victim that runs its kinds until it gets a second line."""
    kinds = victim("kinds", threads, 0, *only)
    kinds.go()
    kinds.wait_for("running")
    return kinds


def finished(kinds):
    """End a victim; return its rounds, and fail if anything went wrong in it."""
    kinds.go()
    said, code = kinds.finish()
    assert code == 0, said
    assert "wrong 0" in said
    return int(said[1].split()[1])


def test_several_handlers_on_one_address_all_run_in_the_order_of_registering(victim):
    kinds = victim("kinds", 1, 50, "push_rbp")
    calls = []
    with uprobes.attach(kinds.pid) as target:
        for number in range(5):
            target.uprobe(kinds.points["push_rbp"], lambda hit, number=number: calls.append(number))
        status = live.run_to_the_end(target, kinds)
    assert status.code == 0
    assert calls == [0, 1, 2, 3, 4] * 50


@pytest.mark.parametrize("method", live.METHODS)
def test_a_probe_object_is_registered_again_at_once_many_times(victim, method):
    """Cases U14, U15 and U16: the address is hit all the time by four threads."""
    kinds = running(victim, 4, "push_rbp")
    with uprobes.attach(kinds.pid) as target:
        probe = uprobes.Uprobe(kinds.pid, kinds.points["push_rbp"], lambda hit: None, method=method)
        for _ in range(60):
            target.register_probes([probe])
            before = probe.hits
            live.until(lambda before=before: probe.hits > before, "a hit")
            target.unregister([probe])
            assert probe.state is ProbeState.UNREGISTERED
    kinds.check_untouched()
    assert probe.misses == 0
    assert finished(kinds) >= probe.hits // 4


def test_registering_and_unregistering_everything_while_all_is_hit(victim):
    kinds = running(victim)
    specs = [kinds.spec(name) for name, hits in kinds.hits.items() if hits]
    with uprobes.attach(kinds.pid) as target:
        for number in range(15):
            method = (None, *live.METHODS)[number % 5]
            registration = target.register(specs, lambda hit: None, method=method)
            some = registration.probes[number % len(registration.probes)]
            live.until(lambda some=some: some.hits > 0, "a hit")
            registration.unregister()
    kinds.check_untouched()
    finished(kinds)


def test_handlers_may_unregister_their_own_probe_and_others(victim):
    kinds = victim("kinds", 2, 200, "push_rbp")
    with uprobes.attach(kinds.pid) as target:

        def once(hit):
            target.unregister([hit.probe, other])

        other = target.uprobe(kinds.points["push_rbp"], lambda hit: None).probes[0]
        own = target.uprobe(kinds.points["push_rbp"], once).probes[0]
        status = live.run_to_the_end(target, kinds)
    assert status.code == 0
    assert (own.hits, other.hits) == (1, 1)
    assert kinds.finish()[0][:2] == ["rounds 400", "wrong 0"]


def test_handlers_may_register_probes(victim):
    kinds = victim("kinds", 2, 200)
    made = {}
    with uprobes.attach(kinds.pid) as target:

        def register_next(hit):
            if len(made) < len(KINDS):
                name = KINDS[len(made)]
                made[name] = target.uprobe(kinds.points[name], lambda hit: None).probes[0]

        target.uprobe(kinds.points["endbr"], register_next)
        status = live.run_to_the_end(target, kinds)
    assert status.code == 0
    assert set(made) == set(KINDS)
    assert all(probe.hits > 100 for probe in made.values())
    assert not target.failures


def test_a_handler_may_move_its_probe_back_and_forth(victim):
    """Unregister and register the same object from its own handler, a hundred times."""
    kinds = victim("kinds", 1, 300, "push_rbp")
    with uprobes.attach(kinds.pid) as target:

        def again(hit):
            target.unregister([probe])
            target.register_probes([probe])

        probe = uprobes.Uprobe(kinds.pid, kinds.points["push_rbp"], again)
        target.register_probes([probe])
        status = live.run_to_the_end(target, kinds)
    assert status.code == 0
    assert probe.hits == 300
    assert not target.failures


def test_other_threads_register_and_unregister_at_the_same_time(victim):
    kinds = running(victim)
    failures = []

    def hammer(name):
        try:
            for _ in range(25):
                registration = target.register([kinds.spec(name)], lambda hit: None)
                assert len(registration.probes) == 1, registration.refused
                probe = registration.probes[0]
                live.until(lambda probe=probe: probe.hits > 3, "hits")
                registration.unregister()
        except BaseException as error:
            failures.append((name, error))

    with uprobes.attach(kinds.pid) as target:
        threads = [threading.Thread(target=hammer, args=(name,)) for name in KINDS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    kinds.check_untouched()
    finished(kinds)


@pytest.mark.parametrize("method", [None, *live.METHODS])
def test_detaching_in_the_midst_of_hits_leaves_no_trace(victim, method):
    kinds = running(victim, 6)
    specs = [kinds.spec(name) for name, hits in kinds.hits.items() if hits]
    for _ in range(3):
        with uprobes.attach(kinds.pid) as target:
            probes = target.register(specs, lambda hit: None, method=method).probes
            live.until(lambda probes=probes: sum(p.hits for p in probes) > 300, "hits")
        kinds.check_untouched()
    finished(kinds)


def test_a_handler_may_detach(victim):
    kinds = running(victim)
    with uprobes.attach(kinds.pid) as target:
        probe = target.uprobe(kinds.points["push_rbp"], lambda hit: target.detach()).probes[0]
        live.until(lambda: target.detached, "the handler detaches")
    live.until(lambda: not kinds.alive or not traced(kinds), "nobody traces it")
    kinds.check_untouched()
    assert probe.hits == 1
    finished(kinds)


def traced(victim):
    return "TracerPid:\t0\n" not in Path(f"/proc/{victim.pid}/status").read_text()


def test_a_handler_that_raises_is_disarmed_and_reported(victim):
    kinds = victim("kinds", 2, 100)
    with uprobes.attach(kinds.pid) as target:
        bad = target.uprobe(kinds.points["push_rbp"], lambda hit: 1 / 0).probes[0]
        good = target.uprobe(kinds.points["push_rbp"], lambda hit: None).probes[0]
        status = live.run_to_the_end(target, kinds)
    assert status.code == 0
    assert (bad.hits, good.hits) == (1, 200)
    assert bad.error is not None
    assert bad.error.code == "handler-raised"
    assert [type(error) for _, error in target.failures] == [ZeroDivisionError]


def test_a_handler_changes_registers(victim):
    kinds = victim("kinds", 1, 10, "mov_register")
    with uprobes.attach(kinds.pid) as target:

        def change(hit):
            hit.registers["rdi"] = 1_000_000

        target.uprobe(kinds.points["mov_register"], change)
        status = live.run_to_the_end(target, kinds)
    assert status.code == 4
    assert kinds.finish()[0][1] == "wrong 10"


@pytest.mark.parametrize("method", live.METHODS)
def test_a_handler_that_moves_the_program_counter_skips_the_instruction(victim, method):
    """Case U25."""
    kinds = victim("kinds", 2, 100, "push_rbp")
    with uprobes.attach(kinds.pid) as target:

        def return_at_once(hit):
            registers = hit.registers
            registers["rax"] = 3 * registers["rdi"] + 1
            registers["rip"] = hit.memory.word(registers["rsp"])
            registers["rsp"] += 8

        probe = target.uprobe(kinds.points["push_rbp"], return_at_once, method=method).probes[0]
        inside = target.uprobe(kinds.points["push_rbp"] + 1, lambda hit: None).probes[0]
        status = live.run_to_the_end(target, kinds)
    assert status.code == 0
    assert kinds.finish()[0][:2] == ["rounds 200", "wrong 0"]
    assert (probe.hits, inside.hits) == (200, 0)


def test_a_forbidden_method_is_not_used_and_a_forced_one_is(victim):
    kinds = victim("kinds", 1, 20)
    with uprobes.attach(kinds.pid) as target:
        plain = target.uprobe(kinds.points["mov_rip"], lambda hit: None).probes[0]
        careful = target.uprobe(
            kinds.points["mov_rip_to_rsi"], lambda hit: None, forbid=["boost", "emulate"]
        ).probes[0]
        forced = target.uprobe(kinds.points["lea_rip"], lambda hit: None, method="step").probes[0]
        status = live.run_to_the_end(target, kinds)
        methods = (plain.method, careful.method, forced.method)
        assert Method.BOOST in careful.why_not
    assert status.code == 0
    assert methods == (Method.BOOST, Method.STEP, Method.STEP)


def test_memory_reads_hide_breakpoints(victim):
    """Case U22: what a handler reads is the program as it is, before and after removal."""
    kinds = victim("kinds", 1, 1)
    address = kinds.points["push_rbp"]
    with uprobes.attach(kinds.pid) as target:
        before = target.read(address, 16)
        registration = target.register([f"va:{address:#x}", f"va:{address + 1:#x}"])
        assert len(registration.probes) == 2
        assert target.read(address, 16) == before
        assert target.memory.read(address, 1) == b"\xcc"
        registration.unregister()
        assert target.memory.read(address, 16) == before == target.read(address, 16)
        status = live.run_to_the_end(target, kinds)
    assert status.code == 0


def test_ten_thousand_probes_come_and_go_at_once(victim):
    kinds = running(victim, 2)
    with uprobes.attach(kinds.pid) as target:
        registration = target.register(["libc:*"], None)
        assert len(registration.probes) > 1000
        assert {type(error.code) for error in registration.refused} <= {str}
        registration.unregister()
        assert live.changed_text(kinds.pid) == []
    kinds.check_untouched()
    finished(kinds)


def test_the_classic_interface_attaches_and_detaches_by_itself(victim):
    kinds = running(victim, 2, "push_rbp")
    probe = uprobes.Uprobe(kinds.pid, kinds.points["push_rbp"], lambda hit: None)
    returns = uprobes.Uretprobe(kinds.pid, kinds.points["push_rbp"], lambda ret: None)
    for _ in range(5):
        uprobes.register_uprobe(probe)
        uprobes.register_uretprobe(returns)
        before = probe.hits, returns.hits
        live.until(
            lambda before=before: probe.hits > before[0] and returns.hits > before[1], "hits"
        )
        uprobes.unregister_uprobe(probe)
        assert traced(kinds)
        uprobes.unregister_uretprobe(returns)
        kinds.check_untouched()
    with pytest.raises(uprobes.NotRegistered):
        uprobes.unregister_uprobe(probe)
    finished(kinds)


@pytest.mark.parametrize("method", ["boost", "step"])
def test_slots_of_removed_probes_are_used_again(victim, method):
    """Four hundred probes that come and go one after the other need no room for so many."""
    kinds = running(victim, 3, "push_rbp")
    with uprobes.attach(kinds.pid) as target:
        probe = uprobes.Uprobe(kinds.pid, kinds.points["push_rbp"], lambda hit: None, method=method)
        for _ in range(400):
            target.register_probes([probe])
            before = probe.hits
            live.until(lambda before=before: probe.hits > before, "a hit")
            target.unregister([probe])
        held = target._process().pool.statistics
        assert held.taken >= 400
        assert held.quarantined < 300
    kinds.check_untouched()
    finished(kinds)


def test_an_instruction_that_turns_out_to_be_none_is_given_up_at_its_first_hit(victim, monkeypatch):
    """Many at once are admitted by a scan; the close look comes with the first hit."""
    kinds = victim("kinds", 2, 50)
    specs = [kinds.spec(name) for name, hits in kinds.hits.items() if hits]
    strange = kinds.points["mov_rip"]
    judge = uprobes.process.Process.judge

    def judge_but_one(process, address):
        if address == strange:
            raise insn.Undecodable("no such opcode")
        return judge(process, address)

    with uprobes.attach(kinds.pid) as target:
        probes = {p.address: p for p in target.register(specs, lambda hit: None).probes}
        monkeypatch.setattr(uprobes.process.Process, "judge", judge_but_one)
        status = live.run_to_the_end(target, kinds)
    given_up = probes.pop(strange)
    assert kinds.finish()[0][:2] == ["rounds 100", "wrong 0"]
    assert status.code == 0
    assert given_up.hits == 0
    assert given_up.misses >= 1
    assert "after all" in str(given_up.error)
    assert all(probe.hits >= 100 for probe in probes.values())
