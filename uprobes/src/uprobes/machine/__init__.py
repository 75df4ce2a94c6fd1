"""What the operating system's interface looks like on each machine that can be traced."""

from uprobes.machine.record import Machine, machine_of_host

__all__ = ["Machine", "machine_of_host"]
