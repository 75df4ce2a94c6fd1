"""`python -m uprobes`: the command."""

from uprobes.command import main

main()
