"""What is said to be dead is overwritten, in real programs as they run: nothing they do changes.

Every instruction of a program, and many of libc, are probed; at the first hits of each, the
registers and flags that `insn` calls dead before it get random values.
"""

import os
import subprocess
from pathlib import Path
from random import Random

import live
import numpy as np
import pytest
from test_live_programs import COMMANDS, TEXT

import insn
import uprobes

pytestmark = pytest.mark.live

SEED = int(os.environ.get("SEED", "1"))
HITS, AT_ONCE = 3, 50
FLAG_BITS = {"cf": 0x1, "pf": 0x4, "af": 0x10, "zf": 0x40, "sf": 0x80, "of": 0x800}


def sites_of(path, count):
    """Choose instructions of a file, with what is dead before each: addresses and bits."""
    windows = insn.Windows(insn.open_image(path))
    records = windows.map.instructions
    every = records["address"][(records["length"] > 0) & (records["methods"] & 15 > 0)]
    if count and count < len(every):
        functions = windows.map.functions
        some = np.random.default_rng(SEED).choice(every, count - len(functions), replace=False)
        every = np.union1d(some, np.intersect1d(functions, every))
    bits = windows.liveness.dead(every)
    return every[bits != 0], bits[bits != 0], windows.liveness


def spoiler(target, dead_at, random, counts):
    """Make a handler that overwrites what is dead."""
    worn_out = []

    def handler(hit):
        registers, flags = dead_at[hit.probe.location.spec]
        for name in registers:
            hit.registers[name] = random.getrandbits(64)
        hit.registers["rflags"] ^= random.getrandbits(64) & flags
        counts[hit.probe.location.spec] = counts.get(hit.probe.location.spec, 0) + 1
        if counts[hit.probe.location.spec] == HITS:
            worn_out.append(hit.probe)
            if len(worn_out) >= AT_ONCE:
                target.unregister(worn_out)
                worn_out.clear()

    return handler


def run(tmp_path, argv, files, *, wrong=frozenset()):
    """Run a command with the dead overwritten; return its output, exit code and hits by site."""
    random, dead_at, counts = Random(SEED), {}, {}
    for path, count in files:
        addresses, bits, liveness = sites_of(path, count)
        for address, number in zip(addresses.tolist(), bits.tolist(), strict=True):
            dead = liveness.named(number)
            flags = sum(FLAG_BITS[name] for name in dead.flags | wrong)
            dead_at[f"elf:{Path(path).name}:{address:#x}"] = (sorted(dead.registers), flags)
    output = tmp_path / "spoiled"
    kept = os.dup(1)
    with open(output, "wb") as out:
        os.dup2(out.fileno(), 1)
    try:
        target = uprobes.spawn(argv, env={**os.environ, "LC_ALL": "C"})
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    with target:
        handler = spoiler(target, dead_at, random, counts)
        registration = target.register(list(dead_at), handler)
        status = target.run(live.PATIENCE)
        assert not target.failures, target.failures[:1]
    return output.read_bytes(), status, counts, registration


def plain(argv):
    done = subprocess.run(argv, env={**os.environ, "LC_ALL": "C"}, capture_output=True, check=False)
    return done.stdout, done.returncode


LIBC = Path("/lib/x86_64-linux-gnu/libc.so.6").resolve()
PROGRAMS = [
    pytest.param("gzip", 0, 300, id="gzip"),
    pytest.param("gzip", 9000, 1500, id="gzip and libc", marks=pytest.mark.slow),
    pytest.param("sort", 9000, 1500, id="sort and libc", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "in_libc", "hit"), PROGRAMS)
def test_what_is_dead_may_be_overwritten(tmp_path, needs, name, in_libc, hit):
    file = tmp_path / "text"
    file.write_bytes(TEXT[:4000])
    program = Path(needs(name, package=name)).resolve()
    argv = [word.format(file=file) if "{file}" in word else word for word in COMMANDS[name]]
    output, code = plain(argv)
    files = [(program, 0), (LIBC, in_libc)][: 1 + bool(in_libc)]
    spoiled, status, counts, registration = run(tmp_path, argv, files)
    print(f"seed {SEED}: {len(counts)} sites hit, {sum(counts.values())} times")
    assert spoiled == output
    assert status is not None
    assert status.code == code
    assert len(registration.probes) > in_libc
    assert len(counts) > hit


def test_what_is_live_may_not(tmp_path, needs):
    """The test above would notice."""
    file = tmp_path / "text"
    file.write_bytes(TEXT[:4000])
    program = Path(needs("gzip", package="gzip")).resolve()
    argv = [word.format(file=file) if "{file}" in word else word for word in COMMANDS["gzip"]]
    output, code = plain(argv)
    spoiled, status, _, _ = run(tmp_path, argv, [(program, 0)], wrong=frozenset(FLAG_BITS))
    assert status is None or (spoiled, status.code) != (output, code)
