"""Processes born of a probed one: cleaned and let go, or followed; the parent notices nothing."""

import live
import pytest

import uprobes

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

CHILD = 25
"""How a child that runs this program anew ends: five calls, and twenty."""


def run(victim, *argv, spec=None, **how):
    """Run one way of making processes; return what was said, the end, the hits in each process."""
    births = victim("births", *argv)
    hits = {}
    with uprobes.attach(births.pid, **how) as target:

        def count(hit):
            hits[hit.pid] = hits.get(hit.pid, 0) + 1

        target.uprobe(spec or births.spec("probed"), count)
        status = live.run_to_the_end(target, births)
        assert not target.failures
    said, code = births.finish()
    assert code == status.code
    own = hits.pop(births.pid, 0)
    return said, code, own, hits


def test_four_threads_fork_while_all_is_hit(victim):
    """Case U5: forty children, each with breakpoints to be taken out of its copy."""
    said, code, own, others = run(victim, "fork")
    assert said == [f"sum {40 * (6 + 1)}"]
    assert (code, own, others) == (0, 40, {})


def test_four_threads_fork_and_the_children_are_followed(victim):
    said, code, own, others = run(victim, "fork", follow_forks=True)
    assert said == [f"sum {40 * (6 + 1)}"]
    assert (code, own) == (0, 40)
    assert sorted(others.values()) == [2] * 40


def test_a_vfork_child_shares_breakpoints_until_it_becomes_another_program(victim):
    """Case U6: it must neither miss them in the parent's memory nor take them out of it."""
    said, code, own, others = run(victim, "vfork", 20)
    assert said == [f"sum {20 * CHILD} called"]
    assert code == 0
    assert own > 20
    assert sorted(others.values()) == [1] * 20


def test_a_vfork_child_may_end_without_becoming_another_program(victim):
    said, code, _, others = run(victim, "vfork_exit", 20)
    assert said == [f"sum {20 * 31}"]
    assert code == 0
    assert sum(others.values()) == 20


@pytest.mark.parametrize("way", ["spawn", "system"])
def test_commands_that_are_run_by_the_program_run_unprobed(victim, way):
    said, code, own, others = run(victim, way, 10)
    assert said == [f"sum {10 * ((CHILD if way == 'spawn' else 3) + 1)}"]
    assert (code, own, others) == (0, 10, {})


@pytest.mark.parametrize("way", ["exec", "exec_of_thread"])
def test_a_program_that_becomes_another_is_probed_by_name_again(victim, way):
    """The new program has the function at another address; the probe named by it goes along."""
    _, code, own, others = run(victim, way, 7, spec="births:probed")
    assert code == CHILD
    assert others == {}
    if way == "exec":
        assert own == 7 + 5
    else:
        assert own > 5


def test_a_probe_by_address_does_not_outlive_the_program(victim):
    _, code, own, _ = run(victim, "exec", 7)
    assert (code, own) == (CHILD, 7)
