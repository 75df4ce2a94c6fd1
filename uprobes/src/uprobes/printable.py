"""Text that a terminal shows and does not obey: names come from processes and files."""


def printable(text: str) -> str:
    """Show by its number what is no sign: a terminal would obey it, and print lines over others."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable_lines(text: str) -> str:
    """Do the same, and leave the ends of lines."""
    if text.isprintable():
        return text
    return "\n".join(printable(line) for line in text.split("\n"))
