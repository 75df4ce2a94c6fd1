"""Names of probe points: specs, mapped objects, symbols."""

from uprobes.names.spec import Kind, Spec, parse

__all__ = ["Kind", "Spec", "parse"]
