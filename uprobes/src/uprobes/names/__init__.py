"""Names of probe points: specs, mapped objects, symbols."""

from uprobes.names.resolver import Names
from uprobes.names.spec import Kind, Spec, parse

__all__ = ["Kind", "Names", "Spec", "parse"]
