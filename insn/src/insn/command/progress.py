"""A word on stderr while something takes longer than a second; nothing where no person watches."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 1.0
"""Seconds of silence."""


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Show what is being done if it takes long, and take it away again."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def show() -> None:
        if not done.wait(PATIENCE):
            sys.stderr.write(f"{what} …")
            sys.stderr.flush()
            done.wait()
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    watcher = threading.Thread(target=show, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
