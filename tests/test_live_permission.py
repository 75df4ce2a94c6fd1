"""Who may probe whom: policies, the kernel's checks, and what `doctor` says of each obstacle."""

import json
import os
import subprocess
import sys

import live
import pytest

import uprobes
from uprobes import ProbeState
from uprobes.command import findings

pytestmark = pytest.mark.live


@pytest.fixture
def asked():
    """A policy that writes down what it is asked, and refuses what is in `refuses`."""

    def policy(request):
        policy.requests.append(request)
        return request.what not in policy.refuses

    policy.requests = []
    policy.refuses = set()
    return policy


def whats(policy):
    return [request.what for request in policy.requests]


# -- policies ---------------------------------------------------------------------------------


def test_a_policy_sees_the_attach_and_every_registration(victim, asked):
    kinds = victim("kinds", 1, 1)
    with uprobes.attach(kinds.pid, policy=asked) as target:
        target.uprobe(kinds.spec("push_rbp"), lambda hit: None)
        target.uretprobe(kinds.spec("push_rbp"), lambda ret: None)
        target.register([kinds.spec("endbr"), kinds.spec("jcc_taken")])
        target.register_probes([uprobes.Uprobe(kinds.pid, kinds.points["nop_short"])])
    assert whats(asked) == ["attach"] + ["register"] * 4
    assert [len(request.locations) for request in asked.requests] == [0, 1, 1, 2, 1]
    assert {request.pid for request in asked.requests} == {kinds.pid}
    assert asked.requests[3].locations[0].address == kinds.points["endbr"]


def test_a_policy_sees_what_runs_inside_the_process_too(victim, asked):
    kinds = victim("kinds", 1, 1)
    asked.refuses = {"register"}
    with uprobes.attach(kinds.pid, policy=asked) as target, pytest.raises(uprobes.NotPermitted):
        target.record(kinds.spec("push_rbp"))
    assert whats(asked) == ["attach", "register"]


def test_a_registration_that_is_refused_touches_nothing(victim, asked):
    kinds = victim("kinds", 1, 1)
    asked.refuses = {"register"}
    with uprobes.attach(kinds.pid, policy=asked) as target:
        with pytest.raises(uprobes.NotPermitted) as caught:
            target.uprobe(kinds.spec("push_rbp"), lambda hit: None)
        assert caught.value.code == "policy"
        assert live.changed_text(kinds.pid) == []
        assert target.probes == []


def test_a_policy_that_raises_refuses(victim):
    def policy(request):
        raise PermissionError("not on a Friday")

    with pytest.raises(uprobes.NotPermitted, match="not on a Friday"):
        uprobes.attach(victim("kinds", 1, 1).pid, policy=policy)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_policy_decides_which_children_are_followed(victim, asked, allowed):
    asked.refuses = set() if allowed else {"follow"}
    births = victim("births", "fork")
    with uprobes.attach(births.pid, policy=asked, follow_forks=True) as target:
        probe = target.uprobe(births.spec("probed"), lambda hit: None).probes[0]
        status = live.run_to_the_end(target, births)
    assert status.code == 0
    assert whats(asked).count("follow") == 40
    assert {request.parent for request in asked.requests if request.what == "follow"} == {
        births.pid
    }
    assert probe.hits == 40 + (80 if allowed else 0)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_policy_decides_whether_probes_come_along_into_a_new_program(victim, asked, allowed):
    asked.refuses = set() if allowed else {"exec"}
    births = victim("births", "exec", 7)
    with uprobes.attach(births.pid, policy=asked) as target:
        probe = target.uprobe("births:probed", lambda hit: None).probes[0]
        status = live.run_to_the_end(target, births)
    assert status.code == 25
    assert probe.hits == (12 if allowed else 7)
    (became,) = [request for request in asked.requests if request.what == "exec"]
    assert became.command[1:] == ("child", "5")
    assert probe.state is ProbeState.GONE
    assert (probe.error is None) == allowed


def test_the_environment_names_a_policy_for_every_command(victim, tmp_path):
    (tmp_path / "rules.py").write_text(
        "def only_kinds(request):\n"
        "    assert all(l.object == 'kinds' for l in request.locations), 'kinds alone'\n"
    )
    kinds = victim("kinds", 1, 0)
    kinds.go()

    def count(spec, policy):
        return subprocess.run(
            [sys.executable, *f"-m uprobes trace {spec} -p {kinds.pid} --json -n 1".split()],
            env={**os.environ, "UPROBES_POLICY": policy, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            timeout=live.PATIENCE,
        )

    assert count(kinds.spec("push_rbp"), "rules:only_kinds").returncode == 0
    for spec, policy in [
        ("libc:write", "rules:only_kinds"),
        (kinds.spec("push_rbp"), "rules:nothing"),
        (kinds.spec("push_rbp"), "nowhere:nothing"),
    ]:
        refused = count(spec, policy)
        assert refused.returncode == 2
        assert json.loads(refused.stdout)["error"]["code"] == "policy"
    kinds.go()
    assert kinds.finish()[1] == 0


# -- the kernel's own checks, and doctor ----------------------------------------------------------


def doctor(pid, *, prefix=(), before=""):
    """Run doctor; give its exit code and what it found by topic."""
    code = f"import sys\n{before}\nfrom uprobes.command.entry import main\nmain(sys.argv[1:])"
    done = subprocess.run(
        [*prefix, sys.executable, "-c", code, "doctor", "-p", str(pid), "--json"],
        capture_output=True,
        text=True,
        timeout=live.PATIENCE,
    )
    document = json.loads(done.stdout)
    assert done.returncode == (0 if document["may_trace"] else 1)
    by_topic = {}
    for finding in document["findings"]:
        assert finding["advice"] or finding["level"] == "ok"
        by_topic.setdefault(finding["topic"], []).append(finding)
    return document["may_trace"], by_topic


def test_doctor_finds_nothing_wrong_where_nothing_is(victim):
    may, found = doctor(victim("kinds", 1, 1).pid)
    assert may
    assert [f["level"] for f in found["permission"] + found["process"]] == ["ok", "ok"]


def test_doctor_names_a_filter_on_system_calls(victim, build):
    kinds = victim("sealing", "allow", build("kinds"), 1, 1)
    may, found = doctor(kinds.pid)
    assert may
    assert "filtered" in found["seccomp"][0]["found"]


def test_doctor_names_a_filter_on_its_own_calls(victim, build):
    may, found = doctor(victim("kinds", 1, 1).pid, prefix=(build("sealing"), "allow"))
    assert may
    assert "own system calls" in found["own seccomp"][0]["found"]


def test_doctor_sees_that_a_capability_is_missing(victim, needs):
    setpriv = needs("setpriv", package="util-linux")
    drop = (setpriv, "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace")
    kinds = victim("kinds", 1, 1, prefix=(setpriv, "--reuid", "65534", "--clear-groups"))
    may, found = doctor(kinds.pid, prefix=drop)
    assert not may
    assert "CAP_SYS_PTRACE" in found["privileges"][0]["advice"]
    assert found["permission"][0]["level"] == "problem"
    assert "65534" in found["permission"][0]["found"]


def test_doctor_names_another_namespace(victim, needs):
    kinds = victim("kinds", 1, 1, prefix=(needs("unshare", package="util-linux"), "-m", "-n"))
    may, found = doctor(kinds.pid)
    assert may
    assert "mnt, net" in found["namespaces"][0]["found"]


@pytest.mark.parametrize(
    ("way", "says"), [("signal.signal(5, print)", "handles"), ("block(0, {5})", "blocks")]
)
def test_doctor_knows_who_uses_sigtrap_itself(way, says):
    code = f"import signal\nblock = signal.pthread_sigmask\n{way}\nprint('ready')\ninput()"
    child = subprocess.Popen(
        [sys.executable, "-uc", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout.readline() == b"ready\n"
        may, found = doctor(child.pid)
        assert may
        assert f"it {says} SIGTRAP" in found["SIGTRAP"][0]["found"]
    finally:
        child.communicate(b"\n")


@pytest.mark.parametrize(
    ("scope", "level", "says"),
    [
        (0, "ok", "same user"),
        (1, "problem", "only descendants"),
        (2, "problem", "CAP_SYS_PTRACE"),
        (3, "problem", "next boot"),
    ],
)
def test_doctor_explains_yama(monkeypatch, tmp_path, scope, level, says):
    """With the words of a kernel that has it: not every one has."""
    (tmp_path / "scope").write_text(f"{scope}\n")
    monkeypatch.setattr(findings, "YAMA", tmp_path / "scope")
    monkeypatch.setattr(findings, "has_capability", lambda number: False)
    (found,) = findings.yama()
    assert (found.level, bool(found.advice)) == (level, level != "ok")
    assert says in found.found


BECOME_NOBODY = """
import contextlib, io, os
from uprobes.command.entry import run
with contextlib.redirect_stdout(io.StringIO()):
    run(["doctor", "-p", sys.argv[3], "--json"])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
"""
"""After a first run, which imports everything: nobody may not be able to read those files."""


def test_nobody_can_probe_a_program_that_forbade_it_without_the_right_to(victim, needs):
    """prctl(PR_SET_DUMPABLE, 0): not even its own user, without CAP_SYS_PTRACE."""
    setpriv = needs("setpriv", package="util-linux")
    nobody = (setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups")
    hostile = victim("hostile_undumpable", prefix=nobody)
    hostile.go()
    hostile.wait_for("undumpable")
    may, found = doctor(hostile.pid, before=BECOME_NOBODY)
    assert not may
    assert found["permission"][0]["level"] == "problem"
    hostile.go()
    assert hostile.finish()[1] == 0


def test_a_process_of_another_user_is_refused_with_what_to_do(victim, needs):
    setpriv = needs("setpriv", package="util-linux")
    kinds = victim("kinds", 1, 1, prefix=(setpriv, "--reuid", "1234", "--clear-groups"))
    may, found = doctor(kinds.pid, before=BECOME_NOBODY)
    assert not may
    assert "as that user or as root" in found["permission"][0]["advice"]
    assert "1234" in found["permission"][0]["found"]
