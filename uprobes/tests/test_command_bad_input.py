"""What can't be probed: a clear error with what to do instead, exit code 2, no harm done."""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

import uprobes
from uprobes.command.entry import run

pytestmark = [pytest.mark.live, pytest.mark.needs("gcc", package="gcc")]


@pytest.fixture
def victim(compiled, waiting):
    return waiting(compiled("names"))


@pytest.fixture
def refused(capsys):
    """Run `count`, which must fail as all bad input does; return the error that scripts get."""

    def count(*arguments):
        code = run(["count", "-d", "1", *map(str, arguments)])
        return code, *capsys.readouterr()

    def refuse(*arguments):
        code, out, err = count(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        document, why = count("--json", *arguments), err
        assert (document[0], document[2]) == (2, "")
        error = json.loads(document[1])["error"]
        assert set(error) == {"code", "spec", "address", "why", "hint"}
        assert error["why"] in why
        assert error["hint"], "it doesn't say what to do instead"
        return error

    return refuse


@pytest.fixture(autouse=True)
def unharmed(request):
    """Check that the victim of a test, if it has one, still runs, unchanged."""
    if "victim" not in request.fixturenames:
        yield
        return
    victim = request.getfixturevalue("victim")
    maps = Path(f"/proc/{victim.pid}/maps").read_text()
    yield
    assert Path(f"/proc/{victim.pid}/maps").read_text() == maps
    assert victim.finish() == 7


@pytest.mark.parametrize(
    ("spec", "code", "hint"),
    [
        ("alon", "no-such-symbol", "did you mean names:alone"),
        ("libc:mallocc", "no-such-symbol", "libc.so.6:malloc"),
        ("names:some_data", "no-such-symbol", "instructions"),
        ("names:fgets", "no-such-symbol", "libc.so.6:fgets"),
        ("libnone:x", "no-such-object", "libc.so.6"),
        ("twin", "ambiguous", "elf:names:0x"),
        ("alone+1", "inside-instruction", "starts at names:alone"),
        ("alone+0x1000", "bad-spec", "below"),
        ("va:0x10", "not-mapped", "nearest is"),
        ("va:0xffffffffff600000", "vsyscall", "calls it"),
        ("elf:names:0x10", "not-executable", "instruction"),
        ("0x401000", "bad-spec", "elf:names:0x401000"),
        ("names:0x1000", "bad-spec", "off:names:0x1000"),
        ("va:main", "bad-spec", "va:0x"),
        ("uprobe:libc:malloc", "bad-spec", "va:0x"),
        ("", "bad-spec", "libc:malloc"),
    ],
)
def test_what_can_not_be_named(victim, refused, spec, code, hint):
    error = refused(spec, "-p", victim.pid)
    assert error["code"] == code
    assert hint in error["hint"]


def test_data_is_no_place_for_a_probe(victim, refused):
    error = refused(f"va:{victim.addresses['some_data']:#x}", "-p", victim.pid)
    assert error["code"] == "not-executable"
    assert error["address"] == victim.addresses["some_data"]


def test_a_dead_process(refused, compiled, waiting):
    dead = waiting(compiled("names"))
    dead.finish()
    assert refused("alone", "-p", dead.pid)["code"] == "no-such-process"


def test_a_zombie(refused):
    child = os.fork()
    if not child:
        os._exit(0)
    try:
        while "Z" not in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2][:3]:
            time.sleep(0.01)
        error = refused("main", "-p", child)
        assert error["code"] == "no-such-process"
        assert "ended" in error["why"]
    finally:
        os.waitpid(child, 0)


AS_NOBODY = """
import contextlib, io, os, sys
from uprobes.command.entry import main, run
with contextlib.redirect_stdout(io.StringIO()):
    assert run(["count", "main", "--json", "-p", str(os.getpid())]) == 2
    assert run(["list", "main", "--json", "-p", str(os.getpid())]) in (0, 2)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
main(sys.argv[1:])
"""
"""A first run imports everything: nobody may not be able to read the interpreter's files."""


def test_somebody_elses_process(victim):
    if os.geteuid():
        pytest.skip("needs root: a second user to be")
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "count", "alone", "--json", "-p", str(victim.pid)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (2, "")
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "not-permitted"
    assert "root" in error["hint"]


def test_a_process_that_is_traced_already_says_by_whom(victim, refused):
    with uprobes.attach(victim.pid):
        error = refused("alone", "-p", victim.pid)
    assert error["code"] == "already-traced"
    assert str(os.getpid()) in error["why"]
    assert Path("/proc/self/comm").read_text().strip() in error["why"]


def test_a_32_bit_program(refused, tmp_path):
    program = tmp_path / "small"
    program.write_bytes(elf_32(b"\xb8\x1d\0\0\0\xcd\x80\xeb\xf7"))  # for (;;) pause();
    program.chmod(0o755)
    process = subprocess.Popen([program])
    try:
        while os.readlink(f"/proc/{process.pid}/exe") != str(program):
            time.sleep(0.01)
        error = refused("main", "-p", process.pid)
        assert error["code"] == "32-bit"
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def elf_32(code):
    """Make a static program for i386 that consists of this code."""
    base, start = 0x10000, 84
    header = struct.pack(
        "<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 2, 3, 1, base + start, 52, 0, 0, 52, 32, 1, 0, 0, 0
    )
    size = start + len(code)
    return header + struct.pack("<8I", 1, 0, base, base, size, size, 5, 4096) + code


def test_a_kernel_thread(refused):
    found = [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and kernel(entry)]
    if not found:
        pytest.skip("needs a kernel thread: there is none in this container")
    assert refused("main", "-p", found[0])["code"] == "kernel-thread"


def kernel(pid):
    """Tell whether a process is a thread of the kernel."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6]) & 0x200000
    return False


def test_process_1(refused):
    assert refused("main", "-p", 1)["code"] == "init"


def test_a_thread_instead_of_its_process(refused):
    source = "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True)"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{source}.start(); print(1, flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        process.stdout.readline()
        threads = sorted(map(int, os.listdir(f"/proc/{process.pid}/task")))
        error = refused("main", "-p", threads[-1])
        assert error["code"] == "thread-number"
        assert str(process.pid) in error["hint"]
    finally:
        process.kill()
        process.communicate()


def test_itself():
    script = 'exec "$0" -m uprobes count main -p $$'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "this very process" in done.stderr


@pytest.mark.parametrize("pid", [0, -1, 99999999])
def test_numbers_that_are_no_process(refused, pid):
    assert refused("main", "-p", pid)["code"] == "no-such-process"


def test_a_command_that_can_not_be_run(uprobes_command, tmp_path):
    plain = tmp_path / "not executable"
    plain.write_text("text")
    for command in ("/nonexistent/program", str(plain), str(tmp_path)):
        done = uprobes_command("count", "main", "--json", "--", command)
        assert (done.returncode, done.stdout) == (2, "")
        assert json.loads(done.stderr)["error"]["code"] == "spawn-failed"


def test_a_command_is_not_begun_when_nothing_of_it_can_be_probed(uprobes_command, tmp_path):
    made = tmp_path / "made"
    done = uprobes_command("count", "va:0x10", "--", "touch", made)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert not made.exists()


def test_an_output_that_can_not_be_written(victim, refused, tmp_path):
    error = refused("alone", "-o", tmp_path / "none" / "file", "-p", victim.pid)
    assert error["code"] == "usage"


def test_a_target_killed_while_it_is_probed_is_reported(compiled, waiting, uprobes_command):
    victim = waiting(compiled("names"))
    pid = victim.pid
    traced = f"grep -q 'TracerPid:.*[1-9]' /proc/{pid}/status"
    script = f"until {traced}; do sleep 0.05; done; sleep 0.3; kill -KILL {pid}"
    killer = subprocess.Popen(["sh", "-c", script])
    done = uprobes_command("count", "alone", "--json", "-p", pid)
    killer.wait()
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert document["target"]["signal"] == signal.SIGKILL
