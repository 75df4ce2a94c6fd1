"""The thread that traces: the kernel lets only the thread that attached use ptrace, so everything
goes through it.

Others hand it work with `call`. It usually sits in waitpid; a signal that does nothing but end that
wait is sent until it has noticed.
"""

import contextlib
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from uprobes import waits
from uprobes.errors import TargetGone

T = TypeVar("T")

BELL = signal.SIGRTMIN + 11
FIRST_WAIT, LONGEST_WAIT = 0.0005, 0.05

_bell_lock = threading.Lock()
_bell_hung = False


def _hang_bell() -> None:
    global _bell_hung
    with _bell_lock:
        if not _bell_hung:
            waits.interruptible_wait(BELL)
            _bell_hung = True


class Tracer:
    """One tracing thread and the work that waits for it.

    `main` is run in the thread; it calls `obey` whenever it is between two stops, and returns to
    end the thread.
    """

    def __init__(self, main: Callable[[], None], name: str) -> None:
        _hang_bell()
        self.commands: deque[tuple[Future[object], Callable[[], object]]] = deque()
        self.thread = threading.Thread(target=self._run, args=(main,), name=name, daemon=True)
        self.ended = threading.Event()
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def _run(self, main: Callable[[], None]) -> None:
        try:
            main()
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self.ended.set()
            self._refuse_all()

    @property
    def here(self) -> bool:
        """Whether the caller is the tracing thread itself (a handler, for example)."""
        return threading.current_thread() is self.thread

    def call(self, work: Callable[[], T]) -> T:
        """Run something in the tracing thread and return what it returns; raises what it raises.

        Raises TargetGone when the thread has ended.
        """
        if self.here:
            return work()
        future: Future[object] = Future()
        self.commands.append((future, work))
        wait = FIRST_WAIT
        while not future.done():
            if self.ended.is_set():
                self._refuse_all()
                break
            self.ring()
            with contextlib.suppress(TimeoutError):
                future.exception(wait)
            wait = min(wait * 2, LONGEST_WAIT)
        return future.result()  # type: ignore[return-value]  # the future holds what work returned

    def ring(self) -> None:
        """End the thread's wait in the kernel."""
        ident = self.thread.ident
        if ident is not None and self.thread.is_alive():
            with contextlib.suppress(ProcessLookupError):
                signal.pthread_kill(ident, BELL)

    def obey(self) -> None:
        """Do the work that waits; called in the tracing thread."""
        while self.commands:
            future, work = self.commands.popleft()
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

    def _refuse_all(self) -> None:
        while self.commands:
            with contextlib.suppress(IndexError):
                future, _ = self.commands.popleft()
                future.set_exception(TargetGone("the target has ended or was detached"))
