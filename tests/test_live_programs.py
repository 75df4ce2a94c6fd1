"""Real programs with every function of theirs and of libc probed: their output is the same."""

import importlib.util
import re
import sys
from pathlib import Path

import live
import pytest

pytestmark = pytest.mark.live

TEXT = "".join(f"{number * 7919 % 10007} line {number}\n" for number in range(1500)).encode()

OWN_TESTS = """
import importlib.util, io, unittest
names = [f"test.test_{name}" for name in (
    "base64", "bisect", "colorsys", "copy", "fractions", "heapq", "shlex", "string", "textwrap"
)]
suite = unittest.defaultTestLoader.loadTestsFromNames(names)
result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
print(result.testsRun, result.failures, result.errors, len(result.skipped))
raise SystemExit(result.testsRun % 100)
"""
"""Some of Python's own tests, quick ones; a distribution may leave them out."""

PROGRAM = """
import hashlib, json, threading, zlib
def work(n, results):
    data = (str(n) * 500).encode()
    results[n] = (hashlib.sha256(data).hexdigest()[:8], len(zlib.compress(data)))
results = {}
threads = [threading.Thread(target=work, args=(n, results)) for n in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(json.dumps(results, sort_keys=True))
raise SystemExit(3)
"""

COMMANDS = {
    "gzip": ["gzip", "-9", "-n", "-c", "{file}"],
    "sort": ["sort", "--parallel=4", "-n", "{file}"],
    "openssl": ["openssl", "dgst", "-sha256", "{file}"],
    "sh": ["sh", "-c", "for i in 1 2 3; do echo $i | cat; done; (exit 5)"],
    "python3": [sys.executable, "-S", "-c", PROGRAM],
    "tests": [sys.executable, "-S", "-c", OWN_TESTS],
    "speed": ["openssl", "speed", "-seconds", "1", "-bytes", "64", "sha256"],
}


def run(tmp_path, argv, specs=None, **how):
    """Run a command on a text; with or without probes."""
    file = tmp_path / "text"
    file.write_bytes(TEXT)
    argv = [word.format(file=file) if "{file}" in word else word for word in argv]
    return live.run_command(argv, tmp_path / ("probed" if specs else "plain"), specs, **how)


def without_figures(text):
    """Leave out what is measured."""
    return re.sub(rb" *([0-9.]+|inf)k?", b" N", text)


@pytest.mark.parametrize(
    "name",
    [
        "gzip",
        "sort",
        "openssl",
        "sh",
        pytest.param("python3", marks=pytest.mark.slow),
    ],
)
def test_every_function_of_a_program_and_of_libc_is_probed_and_nothing_changes(
    tmp_path, needs, name
):
    argv = COMMANDS[name]
    needs(argv[0], package=name)
    program = Path(needs(argv[0], package=name)).resolve().name
    plain, code, _ = run(tmp_path, argv)
    probed, same, registration = run(tmp_path, argv, [f"{program}:*", "libc:*"])
    assert probed == plain
    assert same == code
    hit = [probe for probe in registration.probes if probe.hits]
    assert len(registration.probes) > 1000
    assert len(hit) > 40
    assert sum(probe.misses for probe in registration.probes) == 0
    assert all(error.code and error.why for error in registration.refused)


def test_a_benchmark_runs_to_its_end_with_every_function_probed(tmp_path, needs):
    """`openssl speed` stops itself by a signal; its figures alone may differ."""
    needs("openssl", package="openssl")
    plain, code, _ = run(tmp_path, COMMANDS["speed"])
    probed, same, registration = run(tmp_path, COMMANDS["speed"], ["openssl:*", "libcrypto:EVP_*"])
    assert without_figures(probed) == without_figures(plain)
    assert same == code == 0
    assert sum(probe.hits for probe in registration.probes) > 1000


def test_every_function_of_an_openmp_program_is_probed_and_nothing_changes(tmp_path, build):
    argv = [str(build("openmp")), "300"]
    plain, code, _ = run(tmp_path, argv)
    probed, same, registration = run(tmp_path, argv, ["openmp:*", "libgomp:*", "libc:*"])
    assert probed == plain
    assert same == code == 6
    hit = {probe.location.spec for probe in registration.probes if probe.hits}
    assert len(hit) > 40


@pytest.mark.torture
@pytest.mark.skipif(
    importlib.util.find_spec("test.test_bisect") is None, reason="this Python ships no tests"
)
def test_python_passes_its_own_tests_with_every_function_probed(tmp_path):
    argv = COMMANDS["tests"]
    program = Path(sys.executable).resolve().name
    plain, code, _ = run(tmp_path, argv)
    probed, same, registration = run(tmp_path, argv, [f"{program}:*", "libc:*"])
    assert probed == plain
    assert same == code
    assert sum(probe.hits for probe in registration.probes) > 1_000_000
    assert sum(probe.misses for probe in registration.probes) == 0


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("sort", "openssl")]


@pytest.mark.parametrize("name", ["gzip", *SLOW])
def test_every_function_is_return_probed_and_nothing_changes(tmp_path, needs, name):
    argv = COMMANDS[name]
    program = Path(needs(argv[0], package=name)).resolve().name
    plain, code, _ = run(tmp_path, argv)
    probed, same, registration = run(
        tmp_path, argv, [f"{program}:*", "libc:*"], handler=lambda ret: None, returns=True
    )
    assert probed == plain
    assert same == code
    assert sum(probe.hits for probe in registration.probes) > 100


def test_exceptions_pass_through_a_program_that_is_return_probed_from_its_start(tmp_path, build):
    """Case R-15: nothing is mapped yet when the probes are asked for."""
    program = build("throws")
    script = ["sh", "-c", f"echo | {program} 100 | tail -1"]
    argv = ["sh", "-c", f"exec {program} 100 < /dev/null"]
    plain, code, _ = run(tmp_path, script)
    probed, same, registration = run(
        tmp_path,
        argv,
        ["throws:*", "libstdc++:*", "libgcc_s:*"],
        handler=lambda ret: None,
        returns=True,
    )
    assert (code, same) == (0, 0)
    assert probed.splitlines()[-1:] == plain.splitlines()
    assert sum(probe.hits for probe in registration.probes) > 300


def test_every_function_of_the_dynamic_linker_is_return_probed(tmp_path, needs):
    """Lazy binding jumps into it with other things than a return address on the stack."""
    argv = COMMANDS["gzip"]
    plain, code, _ = run(tmp_path, argv)
    probed, same, registration = run(
        tmp_path, argv, ["ld-linux-x86-64:*"], handler=lambda ret: None, returns=True
    )
    assert probed == plain
    assert same == code
    assert len(registration.probes) > 100
