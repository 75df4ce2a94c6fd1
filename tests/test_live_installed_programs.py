"""Real programs with counters of ours in the process: they say what they say without."""

import os
import random
import subprocess
import threading

import pytest

import insn
import uprobes
from insn import Method
from ubp.programs import Count, Program

pytestmark = [pytest.mark.live, pytest.mark.slow]

COUNT = Program(actions=(Count(),))
PYTHON = (
    "import hashlib, json, re, threading, zlib\n"
    "def work(n): return sum(zlib.crc32(b'%d' % i) for i in range(n))\n"
    "threads = [threading.Thread(target=work, args=(500,)) for _ in range(4)]\n"
    "[t.start() for t in threads]; [t.join() for t in threads]\n"
    "found = {i: hashlib.md5(b'%d' % i).hexdigest() for i in range(500)}\n"
    "print(json.dumps({i: re.sub('[a-f]+', '-', h) for i, h in found.items()}))\n"
)
PROGRAMS = {
    "gzip": (["gzip", "-c", "{bytes}"], ["gzip:*", "libc:*"]),
    "sort": (["sort", "--parallel=4", "{lines}"], ["sort:*", "libc:*"]),
    "python3": (["/usr/bin/python3", "-c", PYTHON], ["python3*:*", "libc:*"]),
    "openssl": (["openssl", "dgst", "-sha256", "{bytes}"], ["openssl:*", "libcrypto:*", "libc:*"]),
    "xz": (["xz", "-T4", "--block-size=65536", "-c", "{bytes}"], ["xz:*", "liblzma:*", "libc:*"]),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Two files for the programs to work on."""
    directory = tmp_path_factory.mktemp("inputs")
    (directory / "bytes").write_bytes(os.urandom(100_000) + b"hello world\n" * 20_000)
    lines = (str(i * 7919 % 100_003) for i in range(30_000))
    (directory / "lines").write_text("\n".join(lines) + "\n")
    return {name: str(directory / name) for name in ("bytes", "lines")}


def run_installed(argv, specs, returns, method=None):
    """Run a command, programs put in before its main function; return output and what was in."""
    installed = []
    reader, writer = os.pipe()
    output = bytearray()

    def collect():
        while part := os.read(reader, 65536):
            output.extend(part)

    collector = threading.Thread(target=collect)
    collector.start()
    own = os.dup(1)
    os.dup2(writer, 1)
    os.close(writer)
    try:
        with uprobes.spawn(argv) as target:

            def begin(hit):
                programs = [(spec, COUNT) for spec in specs]
                installed.append(target.install(programs, returns=returns, method=method))

            target.uprobe("libc:__libc_start_main", begin)
            os.dup2(own, 1)
            status = target.run(120)
            assert not target.failures, target.failures
    finally:
        os.dup2(own, 1)
        os.close(own)
        collector.join()
        os.close(reader)
    return bytes(output), status, installed[0]


@pytest.mark.parametrize("returns", [False, True], ids=["entries", "returns"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_function_counted_in_the_process_changes_no_byte_of_output(
    needs, inputs, name, returns
):
    argv, specs = PROGRAMS[name]
    argv = [part.format(**inputs) if part.startswith("{") else part for part in argv]
    needs(argv[0], package={"python3": "python3", "xz": "xz-utils"}.get(name, name))
    plain = subprocess.run(argv, capture_output=True, check=True)
    output, status, installed = run_installed(argv, specs, returns)
    results = [installed.results(site) for site in installed.sites]
    assert output == plain.stdout
    assert status == uprobes.ExitStatus(0, None)
    assert len(installed.sites) > 2000
    assert sum(result.hits > 0 for result in results) > 50
    jumps = sum(site.method is Method.JUMP for site in installed.sites)
    assert jumps / len(installed.sites) > 0.99
    assert all(error.code and error.why for error in installed.refused)
    if returns:
        assert sum(result.unhooked for result in results) == 0
        assert sum(result.passed for result in results) > 100


@pytest.mark.parametrize(
    ("share", "seed"),
    [(0.05, 1), (0.3, 2), *(pytest.param(1.0, n, marks=pytest.mark.torture) for n in range(3))],
)
@pytest.mark.parametrize("name", ["gzip", "sort"])
def test_jumps_at_any_instructions_change_no_byte_of_output(needs, inputs, name, share, seed):
    """Jumps in loops, in the middle of functions, next to each other."""
    argv, _ = PROGRAMS[name]
    argv = [part.format(**inputs) if part.startswith("{") else part for part in argv]
    program = needs(argv[0], package=name)
    records = insn.Windows(insn.open_image(program)).map.instructions
    addresses = records["address"][records["length"] > 0].tolist()
    chosen = random.Random(seed).sample(addresses, int(share * len(addresses)))
    plain = subprocess.run(argv, capture_output=True, check=True)
    specs = [f"elf:{name}:{address:#x}" for address in sorted(chosen)]
    output, status, installed = run_installed(argv, specs, False, method="jump")
    assert output == plain.stdout
    assert status == uprobes.ExitStatus(0, None)
    assert len(installed.sites) > 0.3 * len(chosen)
    if share < 1:  # all together leave no room for the other forms
        assert {site.form for site in installed.sites} >= {"jump", "short", "punned"}
    known = {"overlaps", "entered-inside", "no-room", "not-displaceable", "place-taken"}
    codes = {error.code for error in installed.refused}
    assert codes & known
