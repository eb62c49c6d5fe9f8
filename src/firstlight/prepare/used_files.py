"""Record which files a process reads and writes, and which addresses it asks for, whatever library does so."""

import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from firstlight.config.options import SEARCH_PATH, SOURCE_DIR
from firstlight.run.download import get_torch_home, list_hub_caches
from firstlight.run.text import format_bytes

# Directories of the operating system; what they contain is part of the machine.
SYSTEM_DIRS = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/lib64", "/bin", "/var", "/run", "/System", "/Library")
# Directories of a checkout that contain no data. `make setup` creates those of the environment.
CHECKOUT_DIRS = ("configs", "docs", "logs", "requirements", "scripts", "site", "src", "tests")
IGNORED_SUFFIXES = (".py", ".pyc", ".so", ".lock", ".incomplete", ".part", ".partial", ".tmp")
WRITING_FLAGS = os.O_WRONLY | os.O_RDWR
# A directory with more files is not measured completely: on a network file system, that would take minutes.
MAX_COUNTED_FILES = 100_000
# Caches of software, not of weights and data.
SOFTWARE_CACHES = ("matplotlib", "pip", "torch_extensions", "uv")


class UsedFiles:
    """The files that this process uses inside a `with` block, as few directories as possible.

    Python reports each opened file, listed directory and request to an audit hook (PEP 578). Files that a library
    opens without Python are found by their neighbors, which almost always include one that Python opens.

    Attributes:
        stores: Files and directories, and whether the process wrote to them.
        addresses: URLs and host names that were asked for, in order.
    """

    def __init__(self, config_paths: Iterable[str], environment: Mapping[str, str]) -> None:
        self.stores: dict[str, bool] = {}
        self.addresses: list[str] = []
        self._config_paths = [os.path.abspath(path) for path in config_paths]
        self._caches = [os.path.abspath(path) for path in list_hub_caches(environment)]
        self._torch_home = os.path.abspath(get_torch_home(environment))
        # The environment of Python, and the directories that modules are imported from.
        code = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), *filter(None, sys.path)]
        self._code = [*{os.path.abspath(path) for path in code} - {os.getcwd()}, *map(str, [SOURCE_DIR, *SEARCH_PATH])]
        # Found before the hook is active, because finding them opens files.
        self._system = (*SYSTEM_DIRS, os.path.abspath(tempfile.gettempdir()))
        self._home = os.path.expanduser("~")
        self._is_active = False

    def __enter__(self) -> "UsedFiles":
        """Start recording. Python cannot remove an audit hook, so it does nothing after the block."""
        self._is_active = True
        sys.addaudithook(self._audit)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop recording."""
        self._is_active = False

    @property
    def last_address(self) -> str:
        """The last URL if the last host name is a part of it, or else that name; "" if nothing was asked for."""
        urls = [address for address in self.addresses if "://" in address]
        last = self.addresses[-1] if self.addresses else ""
        return urls[-1] if urls and last in urls[-1] else last

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._is_active:
            return
        if event == "open":
            self._add_path(args[0], bool(args[2] & WRITING_FLAGS))
        elif event in ("os.listdir", "os.scandir"):
            self._add_path(args[0], False)
        elif event == "os.rename":
            self._add_path(args[1], True)
        elif event in ("urllib.Request", "socket.getaddrinfo") and args[0] is not None:
            address = args[0].decode(errors="replace") if isinstance(args[0], bytes) else str(args[0])
            self.addresses = [*(other for other in self.addresses if other != address), address]

    def add(self, path: str | os.PathLike[str]) -> None:
        """Add a file or directory that a library opens without Python, if it exists."""
        if os.path.exists(path):
            self._add_path(path, False)

    def _add_path(self, path: Any, is_written: bool) -> None:
        if not isinstance(path, str | bytes | os.PathLike):  # a file descriptor
            return
        store = self.find_store(os.path.abspath(os.fsdecode(path)), is_written)
        if store is not None:
            self.stores[store] = self.stores.get(store, False) or is_written

    def find_store(self, path: str, is_written: bool = False) -> str | None:
        """Return the file or directory to report for a path; None if it is a part of machine or checkout.

        Args:
            path: Absolute path.
            is_written: Whether the file is about to be written, so that it may not exist yet.
        """
        is_file = is_written or os.path.isfile(path)
        for root in self._config_paths:
            if is_inside(path, root):
                return root
        if path.endswith(IGNORED_SUFFIXES):
            return None
        for cache in self._caches:
            if is_inside(path, cache):
                return get_parent(path, cache, depth=1)
        if is_inside(path, self._torch_home):
            return path if is_file else None
        if any(is_inside(path, root) for root in self._code):
            return None
        if is_inside(path, os.getcwd()):
            first = os.path.relpath(path).split(os.sep)[0]
            return None if first in CHECKOUT_DIRS else get_parent(path, os.getcwd(), depth=2)
        home_cache = os.path.join(self._home, ".cache")
        if is_inside(path, home_cache):
            is_software = os.path.relpath(path, home_cache).split(os.sep)[0] in SOFTWARE_CACHES
            return None if is_software else get_parent(path, home_cache, depth=2)
        is_system = any(is_inside(path, root) for root in self._system)
        is_hidden = path.startswith(os.path.join(self._home, "."))
        return None if is_system or is_hidden or not is_file else os.path.dirname(path)


def is_inside(path: str, directory: str) -> bool:
    """Return True if a path is a directory or inside it; both are absolute and normalized."""
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


def get_parent(path: str, root: str, depth: int) -> str | None:
    """Return the first parts of a path inside a root; None if it has fewer, or one of them is hidden."""
    parts = os.path.relpath(path, root).split(os.sep)[:depth]
    return None if len(parts) < depth or any(part.startswith(".") for part in parts) else os.path.join(root, *parts)


def measure(path: str) -> tuple[int, int]:
    """Return the number of bytes and of files of a file or directory, up to `MAX_COUNTED_FILES`."""
    num_bytes = num_files = 0
    for file in iter_files(path):
        num_bytes += os.lstat(file).st_size
        num_files += 1
        if num_files == MAX_COUNTED_FILES:
            break
    return num_bytes, num_files


def iter_files(path: str) -> Iterator[str]:
    """Yield a file, or each file of a directory, links to directories excluded."""
    if os.path.isfile(path):
        yield path
    for directory, _, names in os.walk(path):
        yield from (os.path.join(directory, name) for name in names)


def format_size(path: str) -> str:
    """Return the size of a file or directory, such as "1.2 GiB, 3,000 files"."""
    num_bytes, num_files = measure(path)
    if Path(path).is_file():
        return format_bytes(num_bytes)
    bound = "at least " if num_files == MAX_COUNTED_FILES else ""
    return f"{bound}{format_bytes(num_bytes)}, {num_files:,} file{'' if num_files == 1 else 's'}"
