"""Reads corpora: one case a line, columns between bars, `#` begins a comment line."""

from pathlib import Path

import pytest

CASES = Path(__file__).parent / "cases"


def cases(name):
    """List the lines of a corpus as pytest parameters: each a list of columns, named by file and
    line."""
    found = []
    for number, line in enumerate((CASES / name).read_text().splitlines(), 1):
        if line and not line.startswith("#"):
            columns = [column.strip() for column in line.split("|")]
            found.append(pytest.param(columns, id=f"{name}:{number}:{columns[0].replace(' ', '')}"))
    assert found, f"{name} holds no case"
    return found
