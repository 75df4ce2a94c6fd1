"""The example in the README does what the README says."""

import re
from pathlib import Path


def test_the_readme_example_runs(capsys):
    text = (Path(__file__).parent.parent / "README.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert "freed=1" in capsys.readouterr().out
