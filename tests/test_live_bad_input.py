"""What can't be probed is refused with its reason, and the target goes on unharmed."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import live
import pytest

import uprobes

pytestmark = pytest.mark.live


def refused(pid):
    """Try to attach; return the error."""
    with pytest.raises(uprobes.ProbeError) as caught, uprobes.attach(pid):
        pass
    error = caught.value
    assert error.why
    assert error.hint or error.code == "no-such-process"
    return error


def test_a_dead_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert refused(child.pid).code == "no-such-process"


def test_a_zombie():
    child = subprocess.Popen(["true"])
    live.until(lambda: live.process_state(child.pid) == "Z", "it ends")
    assert refused(child.pid).code == "no-such-process"
    assert child.wait() == 0


@pytest.mark.parametrize("pid", [0, -1, -5])
def test_no_process_number(pid):
    """Case U17: no wildcard."""
    assert refused(pid).code == "no-such-process"


def test_this_very_process():
    assert refused(os.getpid()).code == "own-process"


def test_the_systems_init():
    assert refused(1).code in ("init", "not-permitted")


def test_a_kernel_thread():
    if live.process_name(2) != "kthreadd":
        pytest.skip("no kernel threads are visible here (a container with its own process numbers)")
    assert refused(2).code == "kernel-thread"


def test_a_thread_number_names_its_process(victim):
    ticks = victim("ticks", 2)
    ticks.go()
    ticks.wait_for("running")
    tid = max(int(name) for name in os.listdir(f"/proc/{ticks.pid}/task"))
    error = refused(tid)
    assert error.code == "thread-number"
    assert str(ticks.pid) in f"{error.why} {error.hint}"
    ticks.check_untouched()


def test_a_process_that_we_trace_already_names_us(victim):
    ticks = victim("ticks", 1)
    with uprobes.attach(ticks.pid) as target:
        error = refused(ticks.pid)
        assert error.code == "already-traced"
        assert Path("/proc/self/comm").read_text().strip() in error.why
        probe = target.uprobe(ticks.points["tick"], lambda hit: None).probes[0]
        ticks.go()
        live.until(lambda: probe.hits > 5, "the first tracer goes on")
    ticks.check_untouched()


def test_a_process_under_a_debugger_names_the_debugger(victim, needs):
    strace = needs("strace", package="strace")
    ticks = victim("ticks", 1)
    tracer = subprocess.Popen(
        [strace, "-p", str(ticks.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        live.until(lambda: live.tracer_of(ticks.pid) != 0, "strace attaches")
        error = refused(ticks.pid)
    finally:
        tracer.terminate()
        tracer.wait()
    assert isinstance(error, uprobes.AlreadyTraced)
    assert error.tracer == tracer.pid
    assert "strace" in str(error)


def test_a_command_that_does_not_exist():
    with pytest.raises(uprobes.SpawnFailed) as caught:
        uprobes.spawn(["/nonexistent/program"])
    assert "/nonexistent/program" in str(caught.value)


def test_a_command_that_is_no_program(tmp_path):
    file = tmp_path / "text"
    file.write_text("hello")
    with pytest.raises(uprobes.SpawnFailed):
        uprobes.spawn([str(file)])


def test_an_empty_command():
    with pytest.raises(uprobes.SpawnFailed):
        uprobes.spawn([])


@pytest.fixture
def target(victim):
    """A traced victim that must end as it would unprobed."""
    kinds = victim("kinds", 2, 50)
    with uprobes.attach(kinds.pid) as target:
        target.victim = kinds
        yield target
        status = live.run_to_the_end(target, kinds)
    assert status.code == 0
    assert kinds.finish()[0][:2] == ["rounds 100", "wrong 0"]


def where(target, permissions, path=None):
    """Give the start of a mapping of the victim with these permissions."""
    for start, _, found, _, name in live.mappings(target.victim.pid):
        if found == permissions and (path is None or path in name):
            return start
    raise AssertionError(f"no mapping {permissions}")


@pytest.mark.parametrize(
    ("place", "code"),
    [
        (lambda target: 0x10, "not-mapped"),
        (lambda target: (1 << 64) - 1, "not-mapped"),
        (lambda target: where(target, "rw-p", "[stack]"), "not-executable"),
        (lambda target: where(target, "r--p"), "not-executable"),
        (lambda target: where(target, "--xp", "[vsyscall]"), "vsyscall"),
    ],
)
def test_an_address_that_holds_no_code_to_probe(target, place, code):
    address = place(target)
    with pytest.raises(uprobes.ProbeError) as caught:
        target.uprobe(address, lambda hit: None)
    assert caught.value.code == code
    assert f"{address:#x}" in str(caught.value)


def test_an_address_inside_an_instruction(victim):
    ticks = victim("ticks", 1)
    with uprobes.attach(ticks.pid) as target, pytest.raises(uprobes.ProbeError) as caught:
        target.uprobe(ticks.points["tick"] + 1, lambda hit: None)
    assert caught.value.code == "inside-instruction"
    ticks.check_untouched()


def test_a_probe_in_the_area_of_our_own_slots(target):
    """Case U9."""
    target.uprobe(target.victim.points["endbr"], lambda hit: None)
    before = set(target.victim.mappings)
    ours = [m for m in live.executable_mappings(target.victim.pid) if m not in before]
    assert ours
    for start, _, permissions, _, _ in ours:
        assert "w" not in permissions
        with pytest.raises(uprobes.ProbeError):
            target.uprobe(start + 32, lambda hit: None)


def test_a_breakpoint_that_is_not_ours(target):
    """Case U20."""
    address = target.victim.points["push_r15"]
    target.memory.write(address, b"\xcc")
    try:
        with pytest.raises(uprobes.ProbeError) as caught:
            target.uprobe(address, lambda hit: None)
        assert caught.value.code in ("foreign-breakpoint", "trap-instruction")
        assert target.memory.read(address, 1) == b"\xcc"
    finally:
        target.memory.write(address, b"\x41")


def test_a_probe_object_that_is_registered_already(target):
    probe = uprobes.Uprobe(target.pid, target.victim.points["endbr"], lambda hit: None)
    target.register_probes([probe])
    with pytest.raises(uprobes.AlreadyRegistered):
        target.register_probes([probe])


def test_code_that_the_program_can_write(victim):
    """Case U19."""
    memory = victim("memory")
    with uprobes.attach(memory.pid) as target:
        registration = target.register([memory.spec("writable"), memory.spec("shared")])
        refused_codes = live.refusals(registration)
        assert registration.probes == []
        status = live.run_to_the_end(target, memory)
    assert refused_codes == {
        memory.points["writable"]: "writable-code",
        memory.points["shared"]: "shared-mapping",
    }
    assert status.code == 0


def test_an_instruction_that_runs_into_a_missing_page(victim):
    """Case U21."""
    memory = victim("memory")
    with uprobes.attach(memory.pid) as target:
        registration = target.register([memory.spec("cut_off")])
        assert [error.code for error in registration.refused] == ["truncated"]
        good = target.uprobe(memory.spec("at_the_edge"), lambda hit: None).probes[0]
        status = live.run_to_the_end(target, memory)
    assert status.code == 0
    assert good.hits == 10


def test_a_policy_that_refuses():
    def policy(request):
        return request.what != "spawn"

    with pytest.raises(uprobes.NotPermitted) as caught:
        uprobes.spawn(["true"], policy=policy)
    assert caught.value.code == "policy"


def test_everything_after_the_end_of_the_target_is_a_clear_error(victim):
    kinds = victim("kinds", 1, 1)
    with uprobes.attach(kinds.pid) as target:
        probe = target.uprobe(kinds.points["endbr"], lambda hit: None).probes[0]
        live.run_to_the_end(target, kinds)
        for act in (
            lambda: target.uprobe(kinds.points["endbr"], lambda hit: None),
            lambda: target.read(kinds.points["endbr"], 1),
        ):
            with pytest.raises(uprobes.ProbeError) as caught:
                act()
            assert caught.value.code in ("target-gone", "no-such-process", "not-mapped")
        target.unregister([probe])
        assert target.run(1) == uprobes.ExitStatus(0, None)
    target.detach()


def test_attaching_to_processes_that_are_ending_never_hangs():
    """Twenty programs end while we attach to them: attached or refused, but never stuck."""
    results = []

    def one():
        child = subprocess.Popen(["true"])
        try:
            with uprobes.attach(child.pid) as target:
                results.append(target.run(live.PATIENCE))
        except uprobes.ProbeError as error:
            results.append(error.code)
        assert child.wait(live.PATIENCE) == 0

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(live.PATIENCE)
        assert not thread.is_alive()
    good = (uprobes.ExitStatus(0, None), "no-such-process", "target-gone", "not-permitted")
    assert [result for result in results if result not in good] == []
    assert len(results) == 20


COMMANDS = (
    "doctor -p {}",
    "list -p {}",
    "list -p {} *:tick",
    "check -p {} tick",
    "count -p {} tick",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_process_calls_itself_does_not_reach_the_terminal_as_commands(
    build, tmp_path, command
):
    """Its name, and that of whoever traces it, are told as they are spelled."""
    evil = tmp_path / "\x1b[31mevil"
    evil.write_bytes(build("ticks").read_bytes())
    evil.chmod(0o755)
    ticks = live.Victim([evil, 1])
    try:
        argv = [*command.format(ticks.pid).split(), *(["-d", "0.1"] if "count" in command else [])]
        done = subprocess.run([sys.executable, "-m", "uprobes", *argv], capture_output=True)
        assert b"\\x1b[31mevil" in done.stdout.replace(b"\n", b"")
        assert b"\x1b" not in done.stdout + done.stderr
    finally:
        ticks.close()
