"""A test that lacks a program is skipped on a developer's machine and fails where CI is set."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORMS = {
    "marker": """
        import pytest

        @pytest.mark.needs("no-such-program", package="no-such-package")
        def test_it():
            raise AssertionError("never run")
        """,
    "fixture": """
        def test_it(needs):
            needs("no-such-program", package="no-such-package")
            raise AssertionError("never run")
        """,
    "module": """
        import pytest

        pytest.skip("needs package no-such-package", allow_module_level=True)

        def test_it():
            raise AssertionError("never run")
        """,
    "other reason": """
        import pytest

        def test_it():
            pytest.skip("this CPU has no such instruction")
        """,
}


def run_pytest(folder, form, ci):
    lines = FORMS[form].split("\n")
    (folder / "test_it.py").write_text("\n".join(line[8:] for line in lines))
    shutil.copy(ROOT / "conftest.py", folder)
    environment = {**os.environ, "CI": "true"} if ci else {**os.environ, "CI": ""}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "test_it.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("form", ["marker", "fixture", "module"])
def test_a_missing_program_skips_where_ci_is_not_set(form, tmp_path):
    run = run_pytest(tmp_path, form, ci=False)
    assert "1 skipped" in run.stdout
    assert "needs package no-such-package" in run.stdout


@pytest.mark.parametrize("form", ["marker", "fixture", "module"])
def test_a_missing_program_fails_where_ci_is_set(form, tmp_path):
    run = run_pytest(tmp_path, form, ci=True)
    assert run.returncode != 0
    assert "1 skipped" not in run.stdout
    assert "needs package no-such-package" in run.stdout


def test_a_skip_for_another_reason_stays_a_skip_where_ci_is_set(tmp_path):
    run = run_pytest(tmp_path, "other reason", ci=True)
    assert run.returncode == 0
    assert "1 skipped" in run.stdout


CHILD = "child = subprocess.Popen(['sleep', '600'])"
LEAVING = {
    "running": (CHILD, "sleep (S)"),
    "stopped": (f"{CHILD}; child.send_signal(19); time.sleep(0.1)", "sleep (T)"),
    "zombie": (f"{CHILD}; child.kill(); time.sleep(0.1)", "sleep (Z)"),
    "orphan": (
        "child = subprocess.Popen(['sh', '-c', 'sleep 600 >/dev/null & echo $!'], stdout=-1);"
        " child.wait(); child.pid = int(child.stdout.read())",
        "sleep (S)",
    ),
}


def ended(pid):
    """Tell whether a process is gone, or an orphan that whoever adopted it has yet to reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_live_tests_that_leave_a_process_behind_fail_and_the_process_is_ended(tmp_path):
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(
        "import subprocess, time, pytest\n"
        + "".join(
            "@pytest.mark.live\n"
            f"def test_{how}():\n"
            f"    {lines}\n"
            "    child.returncode = 0\n"  # else its destructor warns
            f"    open('{how}', 'w').write(str(child.pid))\n"
            for how, (lines, _) in LEAVING.items()
        )
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    for how, (_, shown) in LEAVING.items():
        pid = (tmp_path / how).read_text()
        # One that has just been started may be on its way to sleep still.
        either = {shown, shown.replace("(S)", "(R)"), shown.replace("(S)", "(D)")}
        said = [f"left behind: {{{pid}: '{each}'}}" in run.stdout for each in either]
        assert any(said), run.stdout
        assert ended(pid)


LEFT_IN_VICTIMS = """
import os, signal, subprocess, sys
import live
from root_conftest import needs, no_process_is_left_behind

TRACER = (
    "import sys, time, uprobes; target = uprobes.attach(int(sys.argv[1]));"
    " target.uprobe(int(sys.argv[2]), lambda hit: None); print(1, flush=True); time.sleep(600)"
)

def test_mapping(victim):
    ticks = victim("ticks", 1)
    command = [sys.executable, "-c", TRACER, str(ticks.pid), str(ticks.points["tick"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tracer:
        tracer.stdout.readline()
        tracer.kill()

def test_stopped(victim):
    ticks = victim("ticks", 1)
    os.kill(ticks.pid, signal.SIGSTOP)
    live.until(lambda: live.process_state(ticks.pid) == "T", "it stops")
"""


def test_a_victim_that_is_left_changed_or_stopped_fails_its_test(tmp_path):
    """The fixture looks over those that run still: mappings, text, tracers, stopped threads."""
    for name in ("conftest.py", "live.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path)
    shutil.copytree(ROOT / "tests" / "victims", tmp_path / "victims")
    shutil.copy(ROOT / "conftest.py", tmp_path / "root_conftest.py")
    (tmp_path / "test_it.py").write_text(LEFT_IN_VICTIMS)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "a mapping of ours is left" in run.stdout, run.stdout
    assert "is stopped" in run.stdout, run.stdout
