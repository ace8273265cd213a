"""Work that survives a kill: one file per panel, each there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np


class Checkpoint:
    """A folder of finished panels, for one task only; without a folder it keeps nothing.

    Raises
    ------
    ValueError
        If the folder holds the panels of another task; it is left as it is.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, task: dict[str, Any]):
        self.folder = None if folder is None else pathlib.Path(folder)
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        manifest = self.folder / "task.json"
        text = json.dumps(task, sort_keys=True)
        if not manifest.exists():
            with _replacing(manifest) as file:
                file.write(text.encode())
        elif manifest.read_text() != text:
            raise ValueError(
                f"{self.folder} holds panels of another matrix or of other wishes: name an empty "
                "folder, or the matrix, chain, tol and rng that it was begun with"
            )

    def load(self, panel: int) -> dict[str, np.ndarray] | None:
        """What was kept of a panel; None where it was not, or where the file is damaged."""
        if self.folder is None:
            return None
        try:
            with open(self._path(panel), "rb") as raw, np.load(raw, allow_pickle=False) as file:
                return dict(file)
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
            return None  # not there, or cut short: it is read again

    def keep(self, panel: int, parts: dict[str, np.ndarray]) -> None:
        if self.folder is None:
            return
        with _replacing(self._path(panel)) as file:
            np.savez(file, **parts)  # type: ignore[arg-type]

    def _path(self, panel: int) -> pathlib.Path:
        assert self.folder is not None
        return self.folder / f"panel-{panel:06d}.npz"


@contextlib.contextmanager
def _replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when it is whole; an interrupt leaves nothing of it."""
    temporary = path.with_suffix(".tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
