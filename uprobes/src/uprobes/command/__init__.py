"""The command line: `uprobes count`, `trace`, `latency`, `check`, `list`, `doctor`."""

from uprobes.command.entry import main

__all__ = ["main"]
