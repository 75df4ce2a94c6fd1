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


def test_a_live_test_that_leaves_a_process_behind_fails_and_the_process_is_ended(tmp_path):
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(
        "import subprocess, pytest\n"
        "@pytest.mark.live\n"
        "def test_it():\n"
        "    child = subprocess.Popen(['sleep', '600'])\n"
        "    child.returncode = 0\n"  # else its destructor warns
        "    open('pid', 'w').write(str(child.pid))\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "left behind" in run.stdout
    assert "sleep" in run.stdout
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()
