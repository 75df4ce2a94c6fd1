"""What several tests of this package share."""

from pathlib import Path

import pytest
from x86_others import Zydis


@pytest.fixture(scope="session")
def zydis(needs, tmp_path_factory):
    """Give Zydis, a decoder in C."""
    compiler = needs("gcc", package="gcc")
    if not Path("/usr/include/Zydis/Zydis.h").exists():
        pytest.skip("needs package libzydis-dev (its header)")
    return Zydis(compiler, tmp_path_factory.mktemp("zydis"))
