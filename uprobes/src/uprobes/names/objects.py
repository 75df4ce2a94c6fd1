"""The files that a process has mapped, found by name, in the process's own view of the file system.

Files are opened through /proc/PID, so that other mount namespaces, deleted and replaced files are
no obstacle.
"""

import fnmatch
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from uprobes.errors import Ambiguous, NotPermitted, ProbeError
from uprobes.maps import Mapping, mapping_at, read_mappings
from uprobes.names.spec import is_glob, quote_object
from uprobes.status import living_thread

VDSO = "[vdso]"
_DELETED = " (deleted)"
_MOST_LINKS = 40
_SUFFIX = r"(-[0-9][0-9.]*)?(\.(cpython|pypy)[^.]*|\.abi3)?\.so(\.[0-9][0-9A-Za-z.]*)?"
_VERSION = r"-?[0-9][0-9.]*"


@dataclass(frozen=True)
class MappedObject:
    """One file mapped as code: `path` as the process sees it; `program` marks the main program."""

    path: str
    device: str
    inode: int
    mappings: tuple[Mapping, ...]
    program: bool = False
    deleted: bool = False
    aliases: tuple[str, ...] = ()

    @cached_property
    def name(self) -> str:
        """The file's name without its directory; `vdso` for the kernel's."""
        return "vdso" if self.path == VDSO else PurePosixPath(self.path).name

    @property
    def virtual(self) -> bool:
        """Whether the object exists in memory only."""
        return self.path == VDSO

    def fits(self, wanted: str) -> int:
        """Rate how well a name without slashes fits: 0 not at all, the highest exactly."""
        if wanted in (self.name, self.path) or wanted in self.aliases:
            return 3
        if re.fullmatch(re.escape(wanted) + _SUFFIX, self.name):
            return 2
        return int(self.program and bool(re.fullmatch(re.escape(wanted) + _VERSION, self.name)))


class Space:
    """What one process has mapped, at one moment."""

    def __init__(self, pid: int) -> None:
        self.tid = living_thread(pid) or pid
        """A main thread that has ended has no files to show, though others of it go on."""
        self.root = f"/proc/{self.tid}/root"
        try:
            self.mappings = read_mappings(pid)
            self._program_path = os.readlink(f"/proc/{self.tid}/exe")
        except PermissionError:
            raise NotPermitted(
                f"the mappings of process {pid} may not be read",
                hint=f"run as its user or as root; see `uprobes doctor -p {pid}`",
            ) from None
        except OSError:
            self._program_path = ""  # a kernel thread, or just gone: nothing is mapped either

    def mapping_at(self, address: int) -> Mapping | None:
        """Find the mapping that contains an address."""
        return mapping_at(self.mappings, address)

    @cached_property
    def objects(self) -> tuple[MappedObject, ...]:
        """All objects that are mapped as code, by address, the main program first."""
        groups: dict[tuple[str, int, str], list[Mapping]] = {}
        for mapping in self.mappings:
            if mapping.path.startswith("/") or mapping.path == VDSO:
                groups.setdefault((mapping.device, mapping.inode, mapping.path), []).append(mapping)
        found = [
            self._object(key, members)
            for key, members in groups.items()
            if any(member.executable for member in members)
        ]
        return tuple(sorted(found, key=lambda item: not item.program))

    def _object(self, key: tuple[str, int, str], members: list[Mapping]) -> MappedObject:
        device, inode, shown = key
        path = shown.replace("\\012", "\n").replace("\\134", "\\")
        program = path == self._program_path.replace("\\012", "\n")
        deleted = path.endswith(_DELETED)
        path = path.removesuffix(_DELETED)
        aliases = (self._called_as(),) if program else ()
        return MappedObject(path, device, inode, tuple(members), program, deleted, aliases)

    def _called_as(self) -> str:
        """Return the name that the program was started by: a link's name is one of its names."""
        try:
            with open(f"/proc/{self.tid}/cmdline", "rb") as file:
                first = file.read(4096).split(b"\0", 1)[0]
        except OSError:
            return ""
        return PurePosixPath(os.fsdecode(first)).name.lstrip("-")

    @property
    def program(self) -> MappedObject | None:
        """The main program; None for a kernel thread."""
        first = self.objects[0] if self.objects else None
        return first if first is not None and first.program else None

    def object_of(self, mapping: Mapping) -> MappedObject | None:
        """Find the object that a mapping belongs to."""
        return self._by_start.get(mapping.start)

    @cached_property
    def _by_start(self) -> dict[int, MappedObject]:
        return {mapping.start: item for item in self.objects for mapping in item.mappings}

    def find(self, wanted: str, *, spec: str) -> tuple[MappedObject, ...]:
        """List the objects a name means: one, or any number for a glob, or none.

        A name is a file's name, its stem (`libc`), a path, or the name the program was started by.
        Raises Ambiguous where several objects fit equally well.
        """
        if is_glob(wanted):
            return tuple(
                o
                for o in self.objects
                if fnmatch.fnmatchcase(o.path if "/" in wanted else o.name, wanted)
            )
        if "/" in wanted:
            return self._by_path(wanted)
        rated = [(o.fits(wanted), o) for o in self.objects]
        best = max((rating for rating, _ in rated), default=0)
        found = tuple(o for rating, o in rated if rating == best) if best else ()
        if len(found) > 1:
            rest = spec.partition(":")[2]
            raise Ambiguous(
                f"{len(found)} objects are called {wanted}",
                spec=spec,
                candidates=[f"{quote_object(o.path)}:{rest}" for o in found],
            )
        return found

    def _by_path(self, wanted: str) -> tuple[MappedObject, ...]:
        exact = tuple(o for o in self.objects if o.path == wanted)
        if exact:
            return exact
        paths = [in_root(self.root, wanted)] if wanted.startswith("/") else []
        if not wanted.startswith("/"):
            # As typed: seen from here first, then from where the process is.
            paths += [os.path.expanduser(wanted), f"/proc/{self.tid}/cwd/{wanted}"]
        for path in paths:
            try:
                status = os.stat(path)
            except OSError:
                continue
            found = tuple(o for o in self.objects if self._is_file(o, status))
            if found:
                return found
        return ()

    def _is_file(self, item: MappedObject, status: os.stat_result) -> bool:
        return item.inode == status.st_ino and self._file_identity(item) == (
            status.st_dev,
            status.st_ino,
        )

    def _file_identity(self, item: MappedObject) -> tuple[int, int] | None:
        try:
            status = os.stat(self.open_path(item))
        except (OSError, ProbeError):
            return None
        return status.st_dev, status.st_ino

    def open_path(self, item: MappedObject) -> str:
        """Return a path of our own that leads to exactly the file that the process mapped.

        Raises NotPermitted when there is none: the file was deleted or replaced, and only root may
        reach it through the mapping.
        """
        first = item.mappings[0]
        through_mapping = f"/proc/{self.tid}/map_files/{first.start:x}-{first.end:x}"
        if os.access(through_mapping, os.R_OK):
            return through_mapping
        paths = [f"/proc/{self.tid}/exe"] if item.program else []
        for path in [*paths, in_root(self.root, item.path)]:
            try:
                status = os.stat(path)
            except OSError:
                continue
            device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
            # Where files are layered over others (overlayfs, btrfs), the two may not compare.
            comparable = device == item.device or item.deleted
            if status.st_ino == item.inode or not comparable:
                return path
        what = "was deleted" if item.deleted else "is no longer the file that was mapped"
        raise NotPermitted(
            f"{item.path} {what}, so its symbols can't be read",
            hint="run as root, or restart the program, or give addresses: va:0x…",
        )

    def read(self, address: int, size: int) -> bytes:
        """Read memory of the process; fewer bytes, or none, where it isn't there."""
        try:
            descriptor = os.open(f"/proc/{self.tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.pread(descriptor, size, address)
        except (OSError, OverflowError):
            return b""
        finally:
            os.close(descriptor)


def in_root(root: str, path: str) -> str:
    """Follow a path, and the symbolic links on it, as a process with that root directory would."""
    done: list[str] = []
    rest = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    links = 0
    while rest:
        part = rest.pop()
        if part == "..":
            done = done[:-1]
            continue
        here = "/".join([root, *done, part])
        try:
            target = os.readlink(here) if links < _MOST_LINKS else ""
        except OSError:
            target = ""
        if not target:
            done.append(part)
            continue
        links += 1
        if target.startswith("/"):
            done = []
        rest += [piece for piece in reversed(target.split("/")) if piece not in ("", ".")]
    return "/".join([root, *done])


def names_of(objects: Iterable[MappedObject]) -> list[str]:
    """List the names of objects as a spec would write them."""
    return [quote_object(item.name) for item in objects]
