"""A sign of life on the terminal for anything that takes more than a second."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 1.0


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show `what` on stderr while the body runs, if that is a terminal and it takes a while."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    status = Console(stderr=True).status(what)
    timer = threading.Timer(PATIENCE, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()


@contextmanager
def counting(*, shown: bool) -> Iterator[Callable[[str], None]]:
    """Give a function that shows a line on stderr, if that is a terminal, until the body ends."""
    if not shown or not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("probing") as status:
        yield status.update
