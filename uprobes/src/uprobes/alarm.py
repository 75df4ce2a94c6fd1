"""An alarm that ends a thread's wait in the kernel now and then, so that it can look around."""

import contextlib
import ctypes
import os
import struct
import threading
from collections.abc import Iterator

CLOCK_MONOTONIC = 1
SIGEV_THREAD_ID = 4
SIGEVENT = struct.Struct("=QiiI44x")
"""struct sigevent: the value, the signal, how to notify, the thread (timer_create(2))."""
TIMERSPEC = struct.Struct("=4q")
NS_PER_S = 1_000_000_000

_libc = ctypes.CDLL(None, use_errno=True)


class Alarm:
    """Sends one thread a signal every `period` seconds while it is set.

    The signal must have a handler that does nothing (`waits.interruptible_wait`). Used by the
    thread that it rings for; the timer is made when it is set first.
    """

    def __init__(self, number: int, period: float) -> None:
        self.number = number
        self.period = int(period * NS_PER_S)
        self._timer: ctypes.c_void_p | None = None

    @contextlib.contextmanager
    def ringing(self) -> Iterator[None]:
        """Ring until left; raises OSError where the kernel gives no timer."""
        if self._timer is None:
            self._timer = self._made()
        self._set(self.period)
        try:
            yield
        finally:
            self._set(0)

    def close(self) -> None:
        """Give the timer back."""
        if self._timer is not None:
            _libc.timer_delete(self._timer)
            self._timer = None

    def _made(self) -> ctypes.c_void_p:
        timer = ctypes.c_void_p()
        event = SIGEVENT.pack(0, self.number, SIGEV_THREAD_ID, threading.get_native_id())
        if _libc.timer_create(CLOCK_MONOTONIC, event, ctypes.byref(timer)):
            number = ctypes.get_errno()
            raise OSError(number, f"timer_create: {os.strerror(number)}")
        return timer

    def _set(self, period: int) -> None:
        seconds, rest = divmod(period, NS_PER_S)
        _libc.timer_settime(self._timer, 0, TIMERSPEC.pack(seconds, rest, seconds, rest), None)
