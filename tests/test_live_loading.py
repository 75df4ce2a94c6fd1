"""Libraries that come and go: probes in them are armed with them, and forgotten with them."""

import subprocess

import live
import pytest

import uprobes
from uprobes import ProbeState

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def libraries(tmp_path_factory, needs):
    """Two libraries alike but for what their function adds."""
    folder = tmp_path_factory.mktemp("libraries")
    paths = [folder / "libone.so", folder / "libtwo.so"]
    for adds, path in enumerate(paths, 1):
        source = live.VICTIMS / "library.c"
        options = f"-O2 -shared -fPIC -DADDS={adds} -o {path} {source}"
        subprocess.run([needs("gcc", package="gcc"), *options.split()], check=True)
    return [str(path) for path in paths]


@pytest.mark.parametrize("returns", [False, True])
def test_a_library_loaded_again_and_again_is_probed_each_time(victim, libraries, returns):
    """Its first call is hit as its last is; between them the probe waits."""
    loads = victim("loads", "again", 30, libraries[0])
    with uprobes.attach(loads.pid) as target:
        registration = target.register("libone:lib_probed", returns=returns)
        assert registration.pending == ["libone:lib_probed"]
        loads.go()
        loads.wait_for("loaded")
        assert loads.said[0] == f"sum {sum(range(1, 31))}"
        live.until(lambda: target.pending, "the probe waits again")
        assert [(p.hits, p.misses, p.state) for p in registration.probes] == [
            (30, 0, ProbeState.PENDING)
        ]
        status = live.run_to_the_end(target, loads)
    assert status.code == 0


def test_a_probe_that_was_given_up_while_its_library_was_away_stays_out(victim, libraries):
    loads = victim("loads", "other", libraries[0], libraries[0])
    with uprobes.attach(loads.pid) as target:
        registration = target.register("libone:lib_probed")
        loads.go()
        first = loads.line()
        probe = registration.probes[0]
        assert (probe.hits, probe.state) == (1, ProbeState.ARMED)
        registration.unregister()
        loads.go()
        loads.wait_for("loaded")
        assert loads.said[1] == first, "the library came back elsewhere: nothing was tried"
        assert (probe.hits, probe.state) == (1, ProbeState.UNREGISTERED)
        assert target.pending == ()
        live.run_to_the_end(target, loads)


def test_another_library_at_the_same_address_is_left_alone(victim, libraries):
    """Nothing of the first one's probes is in it, nor taken out of it."""
    loads = victim("loads", "other", *libraries)
    with uprobes.attach(loads.pid) as target:
        by_name = target.register("libone:lib_probed")
        loads.go()
        place = loads.line().split()[1]
        by_address = target.register(f"va:{place}")
        handled = target.register("libone:lib_probed", lambda hit: None)
        assert [p.hits for p in by_name.probes] == [1]
        loads.go()
        loads.wait_for("loaded")
        assert loads.said[1].split()[1] == place, "it came elsewhere: nothing was tried"
        assert loads.said[2] == f"sum {101 + 10 * 2}"
        states = [r.probes[0].state for r in (by_name, by_address, handled)]
        assert states == [ProbeState.PENDING, ProbeState.GONE, ProbeState.PENDING]
        changed = [
            address for address in live.changed_text(loads.pid) if address[:-3] == place[:-3]
        ]
        assert changed == [], "text of the other library differs from its file"
        for registration in (by_name, by_address, handled):
            registration.unregister()
    loads.mappings += [row for row in live.executable_mappings(loads.pid) if "libtwo" in row[4]]
    loads.check_untouched()
    assert [p.hits for p in by_name.probes] == [1]
    loads.go()
    assert loads.finish()[1] == 0


@pytest.mark.concurrent
def test_what_is_registered_while_its_library_comes_and_goes_is_known(victim, libraries):
    """It may be in and out again before whoever registered it could look."""
    loads = victim("anything", libraries[0])
    loads.process.stdin.write(b"begin l\n")
    loads.wait_for("begun")
    with uprobes.attach(loads.pid) as target:
        for _ in range(250):
            made = target.register(["libone:lib_probed"], lambda hit: None)
            assert made.pending or made.probes or made.refused  # in the order that they change
            made.unregister()
        assert not target.pending
    loads.process.stdin.write(b"end\n")
    loads.wait_for("ended")
