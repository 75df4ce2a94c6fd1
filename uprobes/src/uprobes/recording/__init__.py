"""Recordings by jump and trap probes: rings read as numpy arrays, with nothing running at the hit
but generated code.
"""

from uprobes.recording.clock import Clock
from uprobes.recording.export import export_chrome, export_csv, export_json_lines
from uprobes.recording.part import SiteResult
from uprobes.recording.plan import Plan
from uprobes.recording.recorded import Column, Kind, Place, Recorded
from uprobes.recording.recording import Recording
from uprobes.recording.reopen import open_recordings
from uprobes.recording.ring import Records, Ring, RingDamaged
from uprobes.recording.store import Spool, load, save
from uprobes.recording.summary import Distribution, Summary, summarise
from uprobes.recording.target import Target

__all__ = [
    "Clock",
    "Column",
    "Distribution",
    "Kind",
    "Place",
    "Plan",
    "Recorded",
    "Recording",
    "Records",
    "Ring",
    "RingDamaged",
    "SiteResult",
    "Spool",
    "Summary",
    "Target",
    "export_chrome",
    "export_csv",
    "export_json_lines",
    "load",
    "open_recordings",
    "save",
    "summarise",
]
