"""Everything at once: many threads, births, deaths, signals, probes that come and go; exact counts.

The target counts its own calls; hits and misses together must be the same number.
"""

import threading

import live
import pytest

import uprobes

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

THREADS = 8


def torture(victim, method, calls, registrations):
    """Torture one probe; return what the victim counted, the probe, and what the handler counted.

    Beside it a probe joins it at its address and one somewhere else comes and goes, so many times.
    """
    program = victim("torture", THREADS, calls)
    seen = 0
    failures = []

    def count(hit):
        nonlocal seen
        seen += 1

    with uprobes.attach(program.pid) as target:
        [probe] = target.uprobe(program.spec("probed"), count, method=method).probes
        beside = uprobes.Uprobe(program.pid, program.points["probed"], lambda hit: None)
        returns = uprobes.Uretprobe(program.pid, program.points["coming"], lambda ret: None)
        apart = uprobes.Uprobe(program.pid, program.points["coming"], lambda hit: None)

        def come_and_go():
            try:
                for number in range(registrations):
                    one = (beside, apart, returns)[number % 3]
                    made = target.register_probes([one])
                    assert not made.refused, made.refused
                    target.unregister([one])
            except BaseException as error:
                failures.append(error)
            finally:
                program.go()

        program.go()
        coming = threading.Thread(target=come_and_go)
        coming.start()
        status = target.run(live.PATIENCE * 30)
        assert status is not None, f"the victim hangs: {program.state()}"
        coming.join()
        assert not target.failures
    assert failures == []
    said, code = program.finish()
    assert code == status.code == 0, said
    counts = dict(line.split() for line in said)
    return {name: int(number) for name, number in counts.items()}, probe, seen, (beside, apart)


def check(method, calls, told, probe, seen, others):
    """Fail where anything was lost; say what was shown."""
    assert told["wrong"] == 0
    assert told["calls"] >= THREADS * calls
    assert probe.hits + probe.misses == told["calls"]
    assert seen == probe.hits
    assert probe.misses == 0
    assert probe.method == method
    beside, apart = others
    assert beside.hits <= probe.hits
    assert apart.hits <= told["others"]
    assert told["born"] > 0
    assert told["signals"] > 0
    print(method, told, f"beside {beside.hits} apart {apart.hits}", flush=True)


@pytest.mark.parametrize("method", live.METHODS)
def test_no_hit_is_lost_while_everything_happens_at_once(victim, method):
    calls, registrations = (60, 12) if method == "inline" else (600, 60)
    check(method, calls, *torture(victim, method, calls, registrations))


@pytest.mark.slow
@pytest.mark.parametrize("method", live.METHODS)
def test_no_hit_is_lost_while_everything_happens_for_a_while(victim, method):
    calls, registrations = (500, 100) if method == "inline" else (10_000, 500)
    check(method, calls, *torture(victim, method, calls, registrations))


@pytest.mark.torture
@pytest.mark.parametrize("method", live.METHODS)
def test_no_hit_of_eight_million_is_lost(victim, method):
    """Fewer calls `inline`: it holds all other threads at each."""
    calls = 20_000 if method == "inline" else 1_000_000
    check(method, calls, *torture(victim, method, calls, 10_000))
