"""The Python examples of the README and of the guide do what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def examples(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def run_example(code, folder, **names):
    """Run an example as a script of its own; give what it printed and its program wrote."""
    preamble = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    (folder / "example.py").write_text(preamble + code)
    run = subprocess.run(
        [sys.executable, "example.py"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture
def folder(tmp_path):
    lines = "".join(f"{n * 7919 % 10007} word\n" for n in range(5000))
    (tmp_path / "file").write_text(lines)
    (tmp_path / "words").write_text(lines)
    return tmp_path


@pytest.fixture
def running():
    """A process that reads and allocates until it is ended."""
    loop = "import os\nwhile True: os.listdir('/'); open('/proc/self/stat').read()"
    process = subprocess.Popen([sys.executable, "-S", "-c", loop])
    yield process
    assert process.poll() is None, "it did not survive"
    process.kill()
    process.wait()


@pytest.mark.live
@pytest.mark.needs("gzip", package="gzip")
def test_the_example_in_the_readme_sees_reads_and_the_program_ends_well(folder):
    [code] = examples("README.md")
    printed = run_example(code, folder)
    assert re.search(r"^read gave [1-9]\d+ after \d+ ns$", printed, re.MULTILINE)
    assert "ExitStatus(code=0, signal=None)" in printed
    assert subprocess.check_output(["gzip", "-dc", "file.gz"], cwd=folder) == (
        folder / "file"
    ).read_bytes()


@pytest.mark.live
def test_the_first_example_of_the_guide_times_reads_and_leaves_the_output_alone(folder):
    printed = run_example(examples("docs/getting-started.md")[0], folder)
    lines = printed.splitlines()
    words = (folder / "words").read_text().splitlines()
    assert sorted(line for line in lines if line.endswith(" word")) == sorted(words)
    assert re.search(r"^\d+ of \d+ bytes in \d+ ns: returned$", printed, re.MULTILINE)
    assert "ExitStatus(code=0, signal=None)" in lines


@pytest.mark.live
def test_the_example_of_a_recording_sees_every_byte_that_was_written(folder):
    [code] = examples("docs/recording.md")
    printed = run_example(code, folder)
    words = (folder / "words").read_text().splitlines()
    assert sorted(line for line in printed.splitlines() if line.endswith(" word")) == sorted(words)
    size = len((folder / "words").read_bytes())
    first = sorted(words)[0][:16]
    assert re.search(rf"^{size} bytes, the first: b'{first}", printed, re.MULTILINE)
    assert re.search(r"^\d+ records, 0 lost, of \d+ hits$", printed, re.MULTILINE)


@pytest.mark.live
def test_the_example_with_many_probes_reports_those_that_were_hit(folder, running):
    code = examples("docs/getting-started.md")[2].replace("timeout=5", "timeout=1")
    printed = run_example("import uprobes\n" + code, folder, pid=running.pid)
    assert re.search(r"libc[\w.]*:str\w+ \d+ 0 \w+ \d+", printed)


@pytest.mark.live
def test_the_example_in_the_manner_of_2009_registers_and_unregisters(folder, running):
    code = examples("docs/getting-started.md")[3].replace("...", "time.sleep(1)")
    printed = run_example("import time, uprobes\n" + code, folder, pid=running.pid)
    assert "libc:malloc" in printed
