"""The examples in the README do what the README says."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SAYS = ["mov rax", r"\d+ instructions"]


@pytest.mark.parametrize(("example", "says"), list(zip(EXAMPLES, SAYS, strict=True)))
def test_the_readme_example_runs(example, says, capsys):
    exec(compile(example, "README.md", "exec"), {})
    assert re.search(says, capsys.readouterr().out)
