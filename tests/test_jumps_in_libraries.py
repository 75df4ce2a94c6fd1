"""Libraries with jumps of all forms at thousands of places work as they did.

Two copies of each library are loaded in a process of its own, one of them is patched; in the
trampolines, what is called dead is overwritten. See `patched_library.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SEED = int(os.environ.get("SEED", "1"))
SCRIPT = Path(__file__).parent / "patched_library.py"
FOLDERS = [Path("/lib/x86_64-linux-gnu"), Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/lib64")]
# library | the package that has it | jumps of each form that must be hit at least
LIBRARIES = [
    pytest.param("libz.so.1", "zlib1g", (400, 10, 2), id="libz"),
    pytest.param("libsqlite3.so.0", "libsqlite3-0", (2000, 100, 5), id="libsqlite3"),
    pytest.param("libcrypto.so.3", "libssl3", (400, 20, 0), id="libcrypto", marks=pytest.mark.slow),
    pytest.param("libgmp.so.10", "libgmp10", (500, 5, 1), id="libgmp"),
    pytest.param("libm.so.6", "libc6", (150, 5, 0), id="libm", marks=pytest.mark.slow),
]


def patched(name, package, seed, share):
    """Run the script on a library; what it found."""
    library = next((folder / name for folder in FOLDERS if (folder / name).exists()), None)
    if library is None:
        pytest.skip(f"needs {name}: install the package {package}")
    argv = [sys.executable, str(SCRIPT), str(library), str(seed), str(share)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return json.loads(done.stdout)


@pytest.mark.parametrize(("name", "package", "least"), LIBRARIES)
def test_a_library_full_of_jumps_gives_the_same_results(name, package, least):
    found = patched(name, package, SEED, 12)
    print(f"seed {SEED}: {found}")
    assert found["same"]
    hit = tuple(found["hit"].values())
    assert all(one >= other for one, other in zip(hit, least, strict=True)), found
    assert found["hits"] > 10_000


@pytest.mark.parametrize("share", [1, 100])
def test_with_few_sites_and_with_every_instruction_a_site(share):
    found = patched("libz.so.1", "zlib1g", SEED, share)
    assert found["same"]
    assert found["written"]["jump"] > 100


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(SEED, SEED + 12))
@pytest.mark.parametrize(("name", "package", "least"), LIBRARIES)
def test_whatever_places_are_chosen(name, package, least, seed):
    for share in (3, 30):
        assert patched(name, package, seed, share)["same"]
