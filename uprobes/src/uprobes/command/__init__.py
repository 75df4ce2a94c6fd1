"""The command line: `uprobes count`, `trace`, `latency`, `record`, `report`, `check`, `list`, …"""

from uprobes.command.entry import main

__all__ = ["main"]
