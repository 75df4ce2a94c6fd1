"""The example in the README does what the README says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.live
@pytest.mark.needs("gzip", package="gzip")
def test_the_readme_example_counts_every_read(tmp_path):
    text = (Path(__file__).parent.parent / "README.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "file").write_text("some text\n" * 5000)
    run = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    printed = run.stdout
    assert "ExitStatus(code=0, signal=None)" in printed
    [returns] = re.findall(r"^(\d+) returns by \w+ missed 0$", printed, re.MULTILINE)
    assert printed.count("read gave") == int(returns) > 1
