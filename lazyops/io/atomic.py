"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file open for writing that takes the place of `path` when all went well.

    Until then it stands beside it under another name, and whatever goes wrong removes it.  Both
    the file and its folder are flushed to the disk.

    Raises
    ------
    OSError
        If it cannot be created or written; what stood at `path` is untouched.
    """
    target = _checked(path)
    temporary = _name_beside(target)
    try:
        with _created(temporary, target) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _flush_folder(os.path.dirname(target))


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise OSError now where `replacing(path)` would: before hours of work, not after."""
    target = _checked(path)
    temporary = _name_beside(target)
    try:
        _created(temporary, target).close()
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _created(temporary: str, target: str) -> BinaryIO:
    try:
        return open(temporary, "xb")
    except OSError as error:
        error.filename = target  # the file that was asked for
        raise


def _checked(path: str | os.PathLike[str]) -> str:
    """Where to write: behind links, as any program would, and never over a folder or a device."""
    path = os.fsdecode(path)
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, "not a regular file", path)
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        code = errno.ENOTDIR if os.path.exists(folder) else errno.ENOENT
        raise OSError(code, os.strerror(code), folder)  # names the folder, not a hidden file
    return os.path.realpath(path)


def _name_beside(target: str) -> str:
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name[:40]}.{secrets.token_hex(6)}.tmp")


def _flush_folder(folder: str) -> None:
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # some file systems cannot; the file itself is safe
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
