"""What tests of all packages share: programs they need, and that they leave no process behind."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

MISSING = "needs package"
MARK = "UPROBES_TEST_RUN"
"""What a test's processes inherit, those too that lost their parent."""
GRACE = 0.5
"""Seconds that such a process has to end by itself."""


# What a shell starts in the background ignores Ctrl-C, what nohup starts the end of its terminal,
# and that is inherited: tests that send these signals to a program of theirs would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def find_program(program, package):
    """Give the path of a program, or skip the test for want of its Debian package."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{MISSING} {package} (the program {program})")
    return path


@pytest.fixture(scope="session")
def needs():
    """Give the path of a program: `needs("gdb", package="gdb")`; skip the test without it."""

    def needs(program, *, package):
        return find_program(program, package)

    return needs


def pytest_addoption(parser):
    """Add `--times N`."""
    parser.addoption(
        "--times", type=int, default=1, help="run each test marked `concurrent` so many times"
    )


def pytest_generate_tests(metafunc):
    """Repeat the tests in which things race."""
    times = metafunc.config.getoption("times")
    if times > 1 and metafunc.definition.get_closest_marker("concurrent"):
        metafunc.fixturenames.append("time_number")
        metafunc.parametrize("time_number", range(1, times + 1), ids=lambda number: f"#{number}")


def pytest_configure(config):
    """Register the marker `needs`."""
    config.addinivalue_line(
        "markers", "needs(program, package): skip without the program; fail where CI is set"
    )


def pytest_runtest_setup(item):
    """Skip a test marked `needs` for want of a program."""
    for marker in item.iter_markers("needs"):
        find_program(*marker.args, **marker.kwargs)


def refuse_skip(report):
    """Make a skip for want of a package a failure where CI is set; it would hide a test."""
    if report.skipped and os.environ.get("CI") and MISSING in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"not skipped, since CI is set: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Look at each phase of a test."""
    report = yield
    return refuse_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """Look at each module, which may skip itself as a whole."""
    report = yield
    return refuse_skip(report)


def children():
    """Give the processes whose parent is one of our threads, with their state and name."""
    found = {}
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            pids = listing.read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended, and left its children to another
        for pid in map(int, pids):
            try:
                name, state = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[pid] = f"{name.split(' (', 1)[1]} ({state[0]})"
    return found


def orphans():
    """Give the running processes that this run's present test started, whoever their parent is."""
    mark = f"{MARK}={os.environ[MARK]}\0".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                name, state = (folder / "stat").read_text().rsplit(") ", 1)
                found[int(folder.name)] = f"{name.split(' (', 1)[1]} ({state[0]})"
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


@pytest.fixture(autouse=True)
def no_process_is_left_behind(request, monkeypatch):
    """Fail a live test that leaves a process of its own, running, stopped or zombie; end it."""
    if request.node.get_closest_marker("live") is None:
        yield
        return
    monkeypatch.setenv(MARK, f"{os.getpid()} {request.node.nodeid}")
    before = children()
    yield
    monkeypatch.setenv(MARK, f"{os.getpid()} {request.node.nodeid}")
    left = {pid: what for pid, what in children().items() if pid not in before}
    if not left and orphans():
        time.sleep(GRACE)
        left = orphans()
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue
    assert not left, f"left behind: {left}"
