"""The budget on a running process: what is sampled is told, and stands for what was not seen."""

import live
import pytest

import uprobes
from uprobes import ProbeState

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

THREADS = 8


@pytest.mark.parametrize(
    "returns",
    [pytest.param(False, id="entry"), pytest.param(True, id="return", marks=pytest.mark.slow)],
)
def test_a_sampled_probe_tells_about_how_often_it_would_have_been_hit(victim, returns):
    ticks = victim("ticks", THREADS)
    with uprobes.attach(ticks.pid) as target:
        registration = target.register(ticks.spec("tick"), lambda hit: None, returns=returns)
        (probe,) = registration.probes
        with uprobes.Budget(target, 0.5) as budget:
            ticks.go()
            ticks.wait_for("running")
            live.until(lambda: budget.sampled and probe.hits > 200, "many hits, not all of them")
            ticks.go()
            status = target.run(live.PATIENCE)
        sampling = budget.sampled[probe]
    assert status.code == 0
    said, _ = ticks.finish()
    calls = int(next(line for line in said if line.startswith("calls")).split()[1])
    assert probe.hits < calls
    assert 0 < sampling.share < 1
    # Not a figure: that what was seen was not just multiplied by anything.
    assert calls / 3 < sampling.estimate < calls * 3
    assert budget.taken_out == []


def test_without_the_limit_all_probes_are_in_again(victim):
    ticks = victim("ticks", THREADS)
    with uprobes.attach(ticks.pid) as target:
        (probe,) = target.register(ticks.spec("tick"), lambda hit: None).probes
        ticks.go()
        ticks.wait_for("running")
        with uprobes.Budget(target, 0.25) as budget:
            live.until(lambda: probe.state is ProbeState.PAUSED, "it is sampled")
        assert probe.armed
        told = budget.sampled[probe]
        before = probe.hits
        live.until(lambda: probe.hits > before + 100, "hits")
        assert budget.sampled[probe] == told
    ticks.check_untouched()
    ticks.go()
    assert ticks.finish()[1] == 0


def test_a_target_that_ends_meanwhile_ends_the_budget(victim):
    ticks = victim("ticks", THREADS)
    with uprobes.attach(ticks.pid) as target:
        target.register(ticks.spec("tick"), lambda hit: None)
        with uprobes.Budget(target, 0.25) as budget:
            ticks.go()
            ticks.wait_for("running")
            live.until(lambda: budget.sampled, "it is sampled")
            target.kill()
            assert target.run(live.PATIENCE) == uprobes.ExitStatus(None, 9)
        assert budget.sampled
