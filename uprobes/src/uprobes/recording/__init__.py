"""Records of jump and trap probes: rings read as numpy arrays, with nothing running at the hit but
generated code.
"""

from uprobes.recording.clock import Clock
from uprobes.recording.ring import Records, Ring, RingDamaged

__all__ = ["Clock", "Records", "Ring", "RingDamaged"]
