"""What a probe says of itself when its process, or its code, is gone: the same as before."""

import subprocess

import live
import pytest

import uprobes
from uprobes.arming import FEW

pytestmark = pytest.mark.live


def said(probe):
    """Give what a probe says that does not depend on where the program was loaded."""
    instruction = probe.instruction
    text = None if instruction.target is not None else instruction.text
    return instruction.code, text, probe.method, set(probe.why_not)


def all_of(specs, argv, asked_before, **options):
    """Run a command with many probes; return what each said by its place, before or after."""
    with uprobes.spawn(argv) as target:
        registration = target.register(specs, **options)
        answers = {p.location.elf_address: said(p) for p in registration.probes if asked_before}
        assert target.run(live.PATIENCE) == uprobes.ExitStatus(0, None)
        assert {probe.state for probe in registration.probes} == {uprobes.ProbeState.GONE}
        after = {p.location.elf_address: said(p) for p in registration.probes}
    assert after == {p.location.elf_address: said(p) for p in registration.probes}
    return answers or after


@pytest.mark.parametrize("options", [{}, {"method": "step"}, {"forbid": ["boost"]}])
def test_a_probe_that_was_never_hit_can_be_asked_when_the_process_is_gone(options):
    before = all_of("true:*", ["true"], True, **options)
    after = all_of("true:*", ["true"], False, **options)
    assert len(after) > FEW
    assert before == after


def test_a_probe_that_was_taken_out_says_what_it_used(victim):
    kinds = victim("kinds", 1, 5, "push_rbp")
    with uprobes.attach(kinds.pid) as target:
        hit = target.register(kinds.spec("push_rbp"), method="step")
        idle = target.register("libc:strfry", method="step")
        kinds.go()
        probe, other = hit.probes[0], idle.probes[0]
        live.until(lambda: probe.hits >= 5, "hits")
        hit.unregister()
        idle.unregister()
        answers = said(probe), said(other)
        assert (probe.method, other.method) == ("step", "step")
        live.run_to_the_end(target, kinds)
        assert answers == (said(probe), said(other))


def test_a_probe_in_a_library_that_was_unloaded_knows_its_instruction(victim, tmp_path, needs):
    paths = [tmp_path / "libone.so", tmp_path / "libtwo.so"]
    for adds, path in enumerate(paths, 1):
        options = f"-O2 -shared -fPIC -DADDS={adds} -o {path} {live.VICTIMS / 'library.c'}"
        subprocess.run([needs("gcc", package="gcc"), *options.split()], check=True)
    loads = victim("loads", "other", *paths)
    with uprobes.attach(loads.pid) as target:
        registration = target.register("libone:lib_*")
        loads.go()
        loads.line()
        answers = [said(probe) for probe in registration.probes]
        loads.go()
        loads.wait_for("loaded")
        assert [said(probe) for probe in registration.probes] == answers
        assert answers
        live.run_to_the_end(target, loads)


def test_what_was_never_looked_at_has_no_method():
    probe = uprobes.Uprobe(1, "libc:malloc")
    assert (probe.method, probe.verdict, probe.instruction, probe.why_not) == (None, None, None, {})


@pytest.mark.parametrize("how", ["stays", "target", "registration", "one of two"])
def test_what_was_taken_out_does_not_come_back_in_the_next_program(how):
    """Whether its registration is ended, or its probes are taken out by themselves."""
    shell = subprocess.Popen(["sh", "-c", "read line; /bin/true; :"], stdin=subprocess.PIPE)
    with shell, uprobes.attach(shell.pid, follow_forks=True) as target:
        specs = ["libc:exit", "libc:_exit"]
        made = target.register(specs)
        assert len(made.probes) == 2
        if how == "target":
            target.unregister(made.probes)
        elif how == "registration":
            made.unregister()
        elif how == "one of two":
            target.unregister([probe for probe in made.probes if probe.spec == specs[0]])
        shell.stdin.write(b"\n")
        shell.stdin.close()
        assert target.run(live.PATIENCE) == uprobes.ExitStatus(0, None)
        hits = {probe.spec: probe.hits for probe in made.probes}
    expected = {"stays": (1, 1), "one of two": (0, 1)}.get(how, (0, 0))
    assert tuple(hits[spec] for spec in specs) == expected
