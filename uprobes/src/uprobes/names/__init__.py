"""Names of probe points: specs, mapped objects, symbols."""

from uprobes.names.resolver import Resolver
from uprobes.names.spec import Kind, Spec, parse

__all__ = ["Kind", "Resolver", "Spec", "parse"]
