"""The command `insn`: look at instructions and files without touching anything."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    from insn.command.app import run

    run()
