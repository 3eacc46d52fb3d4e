"""A disk that refuses to sync what was written, or the folder in which it stands; and what is on it for certain.

Had the power gone, only that would be there: whatever the record names must be.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from greenlet import getcurrent

from reconciler.data import durable
from tests.simulation.laws import require

if TYPE_CHECKING:
    from tests.simulation.world import World

#: What the disk refuses, of a file and of a folder.
FILE: Final = "unsynced file"
FOLDER: Final = "unsynced folder"
WORST: Final = {FILE: 0.2, FOLDER: 0.3}


class Synced:
    """By inode: which files were synced, and which names in a folder."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._real = durable.fsync
        self._files: set[int] = set()
        self._names: dict[int, set[str]] = {}
        self._known: set[str] = set()

    def sync(self, path: Path) -> None:
        """In the place of `durable.fsync`."""
        about = os.stat(path)
        is_folder = stat.S_ISDIR(about.st_mode)
        if self._is_refused(FOLDER if is_folder else FILE):
            self._world.note(f"the disk refuses to sync {path.name}")
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._real(path)
        if is_folder:
            self._names[about.st_ino] = set(os.listdir(path))
        else:
            self._files.add(about.st_ino)

    def _is_refused(self, kind: str) -> bool:
        """To runs the weather is that of the world, to the process that listens its own."""
        from tests.simulation.machine import Strand

        if Strand.current is not None:
            return self._world.intake.weather.strikes(kind)
        return getcurrent() in self._world.process_at and self._world.weather.strikes(kind)

    # --- laws

    def look(self) -> None:
        """Every segment that the record names, and every file of the profiles."""
        record = self._world.record
        assert record is not None
        names = {one.file for name in record.streams.ends() for one in record.streams.segments(name)}
        names |= {one.file for one in record.profiles.current().files}
        for name in sorted(names - self._known):
            self.require_there(self._world.state / "data", name)
        self._known |= names

    def require_there(self, folder: Path, name: str) -> None:
        """The file below the folder, with every folder on the way."""
        path = folder / name
        require(os.stat(path).st_ino in self._files, f"{name} is named, and was never synced")
        self.require_named(folder, path)

    def require_named(self, folder: Path, path: Path) -> None:
        """Its name, with those of the folders on the way."""
        name = path.name
        while path != folder:
            above = os.stat(path.parent).st_ino
            require(
                path.name in self._names.get(above, ()),
                f"{name} is named, and {path.parent.name} was not synced with it",
            )
            path = path.parent
