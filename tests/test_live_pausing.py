"""Probes that are taken out for a while: no hit meanwhile, exact counts before and after."""

import threading

import live
import pytest

import uprobes
from uprobes import ProbeState

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

THREADS = 3


def calls_of(ticks):
    """Let it stop; return the calls by its own count."""
    ticks.go()
    said, code = ticks.finish()
    assert code == 0
    return int(next(line for line in said if line.startswith("calls")).split()[1])


def byte_at(ticks):
    with open(f"/proc/{ticks.pid}/mem", "rb", buffering=0) as memory:
        memory.seek(ticks.points["tick"])
        return memory.read(1)


WAYS = {"entry": {}, "return": {"returns": True}, "exit": {"returns": True, "exits": True}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", [None, *live.METHODS])
def test_a_paused_probe_sees_no_hit_and_is_back_at_once(victim, method, way):
    ticks = victim("ticks", THREADS)
    original = byte_at(ticks)
    with uprobes.attach(ticks.pid) as target:
        (probe,) = target.register(
            ticks.spec("tick"), lambda hit: None, method=method, **WAYS[way]
        ).probes
        ticks.go()
        ticks.wait_for("running")
        for _ in range(10):
            before = probe.hits
            live.until(lambda p=probe, b=before: p.hits > b + 5, "hits")
            target.pause([probe])
            assert (probe.state, probe.registered, probe.armed) == (ProbeState.PAUSED, True, False)
            assert byte_at(ticks) == original
            # Calls that were entered before end yet: each thread's, at most.
            seen = probe.hits
            waits = live.switches(ticks.pid)
            live.until(lambda w=waits: live.switches(ticks.pid) > w + 20, "it runs on")
            assert probe.hits <= seen + THREADS
            if way != "return":
                assert probe.hits == seen
            assert target.resume([probe]) == []
            assert (probe.state, probe.armed) == (ProbeState.ARMED, True)
        assert probe.error is None
        assert probe.method is not None
    assert calls_of(ticks) > probe.hits
    assert probe.misses == 0


def test_what_is_paused_and_resumed_while_nobody_runs_loses_no_hit(victim):
    ticks = victim("ticks", THREADS)
    with uprobes.attach(ticks.pid) as target:
        probes = target.register(ticks.spec("tick")).probes
        for _ in range(50):
            target.pause(probes)
            target.resume(probes)
        ticks.go()
        ticks.wait_for("running")
        live.until(lambda: probes[0].hits > 20, "hits")
        ticks.go()
        assert target.run(live.PATIENCE) is not None
    said, _ = ticks.finish()
    assert f"calls {probes[0].hits}" in said


def test_a_neighbour_at_the_same_address_is_hit_all_the_time(victim):
    ticks = victim("ticks", THREADS)
    with uprobes.attach(ticks.pid) as target:
        ours, other = (target.register(ticks.spec("tick")).probes[0] for _ in range(2))
        stop = threading.Event()

        def flicker():
            while not stop.is_set():
                target.pause([ours])
                target.resume([ours])

        flickering = threading.Thread(target=flicker)
        flickering.start()
        ticks.go()
        ticks.wait_for("running")
        live.until(lambda: other.hits > 200, "hits")
        stop.set()
        flickering.join()
        ticks.go()
        assert target.run(live.PATIENCE) is not None
    said, _ = ticks.finish()
    assert f"calls {other.hits}" in said
    assert 0 < ours.hits <= other.hits


def test_a_probe_joins_a_paused_one_and_leaves_it_paused(victim):
    ticks = victim("ticks", 1)
    original = byte_at(ticks)
    with uprobes.attach(ticks.pid) as target:
        paused = target.register(ticks.spec("tick")).probes[0]
        target.pause([paused])
        joined = target.register(ticks.spec("tick"))
        assert byte_at(ticks) != original
        ticks.go()
        ticks.wait_for("running")
        live.until(lambda: joined.probes[0].hits > 5, "hits")
        assert paused.hits == 0
        joined.unregister()
        assert byte_at(ticks) == original
        assert target.resume([paused]) == []
        assert byte_at(ticks) != original
        live.until(lambda: paused.hits > 5, "hits")
        target.pause([paused])
        target.unregister([paused])
        assert (paused.state, paused.error) == (ProbeState.UNREGISTERED, None)
        assert target.resume([paused]) == []
        assert byte_at(ticks) == original
        again = target.register_probes([paused])
        assert again.refused == []
        assert paused.armed
    assert byte_at(ticks) == original
    calls_of(ticks)


def test_detaching_finds_paused_probes_out_already(victim):
    ticks = victim("ticks", 1)
    with uprobes.attach(ticks.pid) as target:
        probes = target.register(ticks.spec("tick"), lambda hit: None, returns=True).probes
        target.pause(probes)
    assert probes[0].state is ProbeState.GONE
    assert probes[0].error is None
    ticks.check_untouched()
    ticks.go()
    ticks.wait_for("running")
    calls_of(ticks)


def test_a_handler_may_pause_its_own_probe(victim):
    ticks = victim("ticks", THREADS)
    with uprobes.attach(ticks.pid) as target:
        (probe,) = target.register(
            ticks.spec("tick"), lambda hit: target.pause([hit.probe])
        ).probes
        ticks.go()
        ticks.wait_for("running")
        live.until(lambda: probe.state is ProbeState.PAUSED, "the handler has run")
        seen = probe.hits
        waits = live.switches(ticks.pid)
        live.until(lambda: live.switches(ticks.pid) > waits + 20, "it runs on")
        assert probe.hits == seen == 1
        assert not target.failures
    assert calls_of(ticks) > 1
