"""What a restored record does not name is kept: moved out of the data folder, where the sweep would destroy it, and moved
back by a later restore of a record that names it.

A folder below `lost+found` in the state directory stands for one restore, named by its time; in it, files keep their
paths below `data`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from reconciler.data.segments import unnamed

LOST: Final = "lost+found"
DATA: Final = "data"


def is_there(path: Path, size: int | None) -> bool:
    """Whether a file is there, as large as was noted."""
    return path.is_file() and (size is None or path.stat().st_size == size)


def found(state: Path, file: str, size: int | None) -> Path | None:
    """Where an earlier restore has put a file of the data folder; the newest place."""
    places = (state / LOST).glob("*/")
    return next((one for one in sorted((p / DATA / file for p in places), reverse=True) if is_there(one, size)), None)


def bring_back(state: Path, files: Iterable[tuple[str, int | None]]) -> list[str]:
    """Moves back what a record names and an earlier restore has put aside; which files, sorted."""
    back = []
    for file, size in files:
        target = state / DATA / file
        if is_there(target, size) or (source := found(state, file, size)) is None:
            continue
        _move(source, target)
        back.append(file)
    _sync({(state / DATA / file).parent for file in back})
    return sorted(back)


def set_aside(state: Path, named: Collection[str], folder: str) -> list[str]:
    """Moves what no row names to `lost+found/FOLDER/data`, on the disk when it returns; which files, sorted."""
    place = state / LOST / folder / DATA
    moved = unnamed(state / DATA, named)
    for file in moved:
        _move(state / DATA / file, place / file)
    _sync({one for file in moved for one in ((place / file).parent, (state / DATA / file).parent)})
    return moved


def set_aside_file(path: Path, state: Path, folder: str) -> bool:
    """The same for one file of the state directory; False where it is not there."""
    if not path.exists():
        return False
    place = state / LOST / folder
    _move(path, place / path.name)
    _sync({place, path.parent})
    return True


def _move(source: Path, target: Path) -> None:
    for folder in reversed([one for one in target.parents if not one.exists()]):
        folder.mkdir(mode=0o700)
    source.replace(target)


def _sync(folders: Iterable[Path]) -> None:
    for folder in sorted(folders):
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
