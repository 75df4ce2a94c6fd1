"""Run the benchmarks: the same as `python -m benchmarks`, from any folder and with PYTHONSAFEPATH set."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.__main__ import main  # noqa: E402  # the path comes first

raise SystemExit(main())
