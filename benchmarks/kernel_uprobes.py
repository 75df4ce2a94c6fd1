"""The kernel's uprobes as peers: a BPF program that does nothing, on many functions; a counter."""

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from elftools.elf.elffile import ELFFile

from benchmarks.victims import Missing, symbols

SYS_BPF = 321
PROG_LOAD, LINK_CREATE = 5, 28
PROGRAM_KPROBE, TRACE_UPROBE_MULTI = 2, 48
NOTHING = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
"""`r0 = 0; exit`."""
NOT_THERE = {
    errno.ENOSYS: "this kernel has no BPF",
    errno.EPERM: "BPF programs need root or CAP_BPF and CAP_PERFMON",
    errno.EINVAL: "this kernel is older than 6.6 and has no uprobe_multi",
}


def _bpf(command: int, attributes: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = libc.syscall(SYS_BPF, command, buffer, len(attributes))
    if result < 0:
        code = ctypes.get_errno()
        raise Missing(f"bpf: {NOT_THERE.get(code, os.strerror(code))}")
    return int(result)


@cache
def _program() -> int:
    code = ctypes.create_string_buffer(NOTHING, len(NOTHING))
    licence = ctypes.create_string_buffer(b"GPL")
    # union bpf_attr of BPF_PROG_LOAD up to expected_attach_type (include/uapi/linux/bpf.h).
    return _bpf(
        PROG_LOAD,
        struct.pack(
            "<IIQQIIQII16sII",
            PROGRAM_KPROBE,
            len(NOTHING) // 8,
            ctypes.addressof(code),
            ctypes.addressof(licence),
            0,
            0,
            0,
            0,
            0,
            b"nothing",
            0,
            TRACE_UPROBE_MULTI,
        ),
    )


def attach(path: str, offsets: Sequence[int], pid: int) -> int:
    """Probe many file offsets in one process; closing what is returned takes them out."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    places = (ctypes.c_uint64 * len(offsets))(*offsets)
    # link_create: prog_fd, target_fd, attach_type, flags, then uprobe_multi: path, offsets,
    # reference counters, cookies, count, flags, pid.
    return _bpf(
        LINK_CREATE,
        struct.pack(
            "<IIIIQQQQIII4x",
            _program(),
            0,
            TRACE_UPROBE_MULTI,
            0,
            ctypes.addressof(name),
            ctypes.addressof(places),
            0,
            0,
            len(offsets),
            0,
            pid,
        ),
    )


SYS_PERF_EVENT_OPEN = 298
PERF_ATTR = struct.Struct("<IIQQQQQIIQQ")
"""struct perf_event_attr up to config2: type, size, config, …, flags, …, path, offset."""
UPROBE_TYPE = Path("/sys/bus/event_source/devices/uprobe/type")


class Counter:
    """A kernel uprobe that counts, on one place of a file in one thread."""

    def __init__(self, path: str, offset: int, pid: int) -> None:
        if not UPROBE_TYPE.exists():
            raise Missing("this kernel has no uprobe events for perf_event_open")
        self._path = ctypes.create_string_buffer(os.fsencode(path))
        attributes = PERF_ATTR.pack(
            int(UPROBE_TYPE.read_text()),
            PERF_ATTR.size,
            *(0, 0, 0, 0, 0, 0, 0),
            ctypes.addressof(self._path),
            offset,
        )
        libc = ctypes.CDLL(None, use_errno=True)
        self._file = libc.syscall(SYS_PERF_EVENT_OPEN, attributes, pid, -1, -1, 0)
        if self._file < 0:
            raise Missing(
                f"perf_event_open: {os.strerror(ctypes.get_errno())}; needs root or CAP_PERFMON"
            )

    @property
    def hits(self) -> int:
        """How often it was hit."""
        return int.from_bytes(os.read(self._file, 8), "little")

    def close(self) -> None:
        """Take it out."""
        os.close(self._file)


def file_offsets(binary: Path, functions: Sequence[str]) -> list[int]:
    """Return where functions begin in a file."""
    with binary.open("rb") as file:
        segments = [s.header for s in ELFFile(file).iter_segments("PT_LOAD")]
    offsets = []
    for function in functions:
        address, _ = symbols(binary)[function]
        inside = next(s for s in segments if s["p_vaddr"] <= address < s["p_vaddr"] + s["p_filesz"])
        offsets.append(address - inside["p_vaddr"] + inside["p_offset"])
    return offsets
