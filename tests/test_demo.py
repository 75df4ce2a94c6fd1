"""`make demo` does what it promises: the program it probes does not notice."""

import subprocess
import sys

import pytest


@pytest.mark.live
@pytest.mark.needs("xz", package="xz-utils")
def test_the_demo_sees_hits_by_every_method_and_the_output_is_that_of_an_unprobed_run():
    run = subprocess.run(
        [sys.executable, "-m", "uprobes.command.demo"],
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "150"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    # the run with all probes, and one by each of four methods
    assert run.stdout.count("output and exit code as unprobed") == 5
    assert "NOT as unprobed" not in run.stdout
    for method in ("inline", "step", "boost", "emulate"):
        [row] = [line for line in run.stdout.splitlines() if line.startswith(method)]
        assert int(row.split()[1].replace(",", "")) > 0
    [row] = [line for line in run.stdout.splitlines() if "malloc" in line]
    assert int(row.split()[1].replace(",", "")) > 0
