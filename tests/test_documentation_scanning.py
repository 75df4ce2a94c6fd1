"""The examples of the page about whole files do what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "scanning.md"


def run_example(number, folder):
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[number]
    (folder / "example.py").write_text(code)
    run = subprocess.run(
        [sys.executable, "example.py"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_the_example_with_numpy_counts_instructions_and_entries(tmp_path):
    instructions, relative, entries = run_example(0, tmp_path)
    assert re.fullmatch(r"[\d,]{6,} instructions, [34]\.\d\d bytes long", instructions)
    assert re.fullmatch(r"[\d,]+ access memory at a distance from the program counter", relative)
    assert re.fullmatch(r"\d+\.\d% of the functions can take a jump probe", entries)


@pytest.mark.slow
def test_the_example_with_processes_scans_each_file_or_says_why_not(tmp_path):
    gzip, true, passwd = run_example(1, tmp_path)
    assert gzip.startswith("/bin/gzip ")
    assert "pushes-address" in gzip
    assert true.startswith("/bin/true ")
    assert passwd.startswith("/etc/passwd - ")


@pytest.mark.slow
def test_the_example_with_a_dask_cluster_scans_both_files(tmp_path):
    pytest.importorskip("distributed", reason="needs `pip install distributed`")
    lines = run_example(2, tmp_path)
    assert [line.split()[0] for line in lines] == ["/bin/gzip", "/bin/true"]
    assert all(re.search(r" \d+ instructions$", line) for line in lines)
