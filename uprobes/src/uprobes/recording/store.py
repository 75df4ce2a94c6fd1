"""Recordings in files: an .npz that numpy opens by itself, written as the records come.

`records` is the structured array, `recording` the description as JSON. While a recording runs, its
records go to an unnamed temporary file: memory stays small however long it takes.
"""

import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from uprobes.recording.recorded import Recorded, bad_recording
from uprobes.recording.ring import Records

CHUNK = 1 << 16
"""Records that are written at a time."""


class Spool:
    """Takes arrays of records, and gives them back as one, on disk rather than in memory."""

    def __init__(self, dtype: np.dtype[Any], folder: str | os.PathLike[str] | None = None) -> None:
        self.dtype = dtype
        made = tempfile.TemporaryFile(dir=folder, prefix="uprobes-")  # noqa: SIM115  # see close
        self._file: IO[bytes] = made
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, records: Records) -> None:
        """Append records."""
        same = np.ascontiguousarray(records.astype(self.dtype, copy=False))
        self._file.write(same.view("u1").data)
        self._count += len(records)

    def records(self) -> Records:
        """Return all of them; they are mapped, not read."""
        self._file.flush()
        if not self._count:
            return np.empty(0, self.dtype)
        return np.memmap(self._file, self.dtype, "r", shape=(self._count,))

    def close(self) -> None:
        """Give the disk space back; arrays that were given out stay good."""
        self._file.close()


def in_order(records: Records, name: str | None) -> Records:
    """Return records in the order of a column, the same array where they are already."""
    if name is None or len(records) < 2:
        return records
    moments = np.ascontiguousarray(records[name])
    if (moments[1:] >= moments[:-1]).all():
        return records
    taken: Records = records[np.argsort(moments, kind="stable")]
    return taken


def save(recorded: Recorded, path: str | os.PathLike[str]) -> None:
    """Write a recording; `numpy.load(path)["records"]` reads its records. Raises OSError."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("records.npy", "w", force_zip64=True) as file:
            _write_array(file, recorded.records)
        text = np.array(json.dumps(recorded.description()))
        with archive.open("recording.npy", "w") as file:
            np.lib.format.write_array(file, text, allow_pickle=False)


def _write_array(file: IO[bytes], records: Records) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(records.dtype),
        "fortran_order": False,
        "shape": (len(records),),
    }
    np.lib.format.write_array_header_2_0(file, header)
    for chunk in chunks(records):
        file.write(np.ascontiguousarray(chunk).view("u1").data)


def chunks(records: Records) -> Iterator[Records]:
    """Give records in arrays of a moderate size."""
    for at in range(0, len(records), CHUNK):
        yield records[at : at + CHUNK]


def load(path: str | os.PathLike[str]) -> Recorded:
    """Read a recording from a file; raises OSError, or ProbeError with the code `bad-recording`.

    Nothing in the file is executed, and what it says is checked.
    """
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                records = archive["records"]
                described = json.loads(str(archive["recording"]))
        except Exception as error:
            # numpy and zipfile have a dozen ways to refuse what is no archive.
            raise bad_recording(f"{path} can't be read: {error}") from None
    return Recorded.from_description(described, records)
