"""The records of a target as numpy arrays: all rings of a recording taken together."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ubp.programs.ring import RingLayout, RingMode
from uprobes.errors import ProbeError
from uprobes.recording.clock import Clock
from uprobes.recording.reader import Memory, RingReader

Records = NDArray[Any]
"""A structured array, one element per record."""

GRACE_S = 0.5
"""How long a record that was begun may stay unfinished while others behind it are not."""


class RingDamaged(ProbeError):
    """The shared memory is not what the layout says."""

    code = "ring-damaged"


class Ring:
    """Reads the records of one recording; one reader at a time.

    `dtype` names the fields in a record of `layout.record_size` bytes. With a `clock`, the fields
    `times` become nanoseconds of CLOCK_MONOTONIC and `durations` nanoseconds; records come in the
    order of `order`. With `keep`, what is read stays in the memory for whoever reads it next, and
    the memory may be read-only.
    A record whose probe number is not below `probes` is forged and left out.
    Raises RingDamaged where `memory` is too small for the layout.
    """

    def __init__(
        self,
        memory: Memory,
        layout: RingLayout,
        dtype: np.dtype[Any],
        *,
        probes: int,
        clock: Clock | None = None,
        times: tuple[str, ...] = (),
        durations: tuple[str, ...] = (),
        order: str | None = None,
        keep: bool = False,
        grace_s: float = GRACE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if len(memory) < layout.size or dtype.itemsize != layout.record_size:
            raise RingDamaged(
                f"{layout.size} bytes of records of {layout.record_size} are wanted, and there are "
                f"{len(memory)} of records of {dtype.itemsize}",
                hint="the target, or whoever described the recording, changed it",
            )
        self.dtype = dtype
        self._probes = probes
        self._clock = clock
        self._times = times
        self._durations = durations
        self._order = order
        self._now = now
        self._overwrite = layout.mode is RingMode.OVERWRITE
        self._readers = [
            RingReader(
                memory,
                layout.control(ring),
                layout.data(ring),
                capacity=layout.capacity,
                record_size=layout.record_size,
                overwrite=self._overwrite,
                grace_s=grace_s,
                keep=keep,
            )
            for ring in range(layout.rings)
        ]
        self._forged = 0
        self.records_read = 0
        """Records that were given out so far."""

    def read(self, *, final: bool = False) -> Records:
        """Take out all records that are whole, oldest first; they are the caller's own.

        A record that is just being written comes with a later reading; `final` says that nobody
        writes any more, so that what is unfinished is lost. Never blocks.
        """
        now = self._now()
        found = [(reader, reader.ready(now, final=final)) for reader in self._readers]
        found = [(reader, ready) for reader, ready in found if ready.count]
        raw = np.empty(sum(ready.records for _, ready in found), f"V{self.dtype.itemsize}")
        size = 0
        for reader, ready in found:
            size += reader.copy(ready, raw[size : size + ready.records])
            reader.consume(ready)
        records = self._genuine(raw[:size].view(self.dtype))
        self.records_read += len(records)
        return self._in_order(self._in_ns(records))

    @contextmanager
    def borrow(self) -> Iterator[list[Records]]:
        """Give the records where they stand, without copying, until the body ends.

        They come in one or two arrays per ring, times in raw ticks, unchecked: the target may
        change them at any time, and the writers get their slots back only afterwards.
        Raises ProbeError where writers overwrite.
        """
        if self._overwrite:
            raise ProbeError(
                "records that may be overwritten at any moment can't be lent",
                code="bad-mode",
                hint="use read(), or the mode drop",
            )
        now = self._now()
        found = [(reader, reader.ready(now, final=False)) for reader in self._readers]
        lent: list[Records] = []
        for reader, ready in found:
            if ready.whole is None:
                lent += [part.view(self.dtype) for part in reader.views(ready)]
            else:
                own = np.empty(ready.records, f"V{self.dtype.itemsize}")
                reader.copy(ready, own)
                lent.append(own.view(self.dtype))
        yield [part for part in lent if len(part)]
        self.records_read += sum(map(len, lent))
        for reader, ready in found:
            reader.consume(ready)

    @property
    def lost(self) -> int:
        """Records that were written, or should have been, and will never be read."""
        told = sum(reader.lost_by_writers for reader in self._readers)
        return told + self.overwritten + self.holes

    @property
    def overwritten(self) -> int:
        """Of those, how many were overwritten before they were read (a flight recorder's fate)."""
        return sum(reader.overwritten for reader in self._readers)

    @property
    def holes(self) -> int:
        """Of those, how many were begun and never finished, or passed over for such a one."""
        return sum(reader.holes for reader in self._readers)

    @property
    def damaged(self) -> int:
        """How often the memory held what no writer of ours writes; then no figure is to be relied
        on.
        """
        return self._forged + sum(reader.damaged for reader in self._readers)

    def close(self) -> None:
        """Let go of the memory."""
        self._readers.clear()

    def _genuine(self, records: Records) -> Records:
        genuine = records["probe"] < self._probes
        if genuine.all():
            return records
        kept = records[genuine]
        self._forged += len(records) - len(kept)
        return kept

    def _in_ns(self, records: Records) -> Records:
        if self._clock is None or not len(records):
            return records
        if self._times:
            self._clock.mark()
        for name in self._times:
            records[name] = self._clock.times(records[name])
        for name in self._durations:
            records[name] = self._clock.durations(records[name])
        return records

    def _in_order(self, records: Records) -> Records:
        if self._order is None:
            return records
        moments = records[self._order]
        if (moments[1:] >= moments[:-1]).all():
            return records
        taken: Records = records[np.argsort(moments, kind="stable")]
        return taken
