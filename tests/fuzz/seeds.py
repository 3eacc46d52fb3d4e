"""The corpus that is committed: one file an input, in a folder a target. A file that broke the law once stays."""

from __future__ import annotations

from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"


def seeds(target: str) -> list[Path]:
    """The inputs of one target, in order."""
    folder = CORPUS / target
    return sorted(folder.iterdir()) if folder.is_dir() else []
