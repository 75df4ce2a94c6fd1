"""Run the benchmarks: `python -m benchmarks` from any folder and with PYTHONSAFEPATH set."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.__main__ import main

raise SystemExit(main())
