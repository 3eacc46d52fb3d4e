"""All rows, in the order in which they are measured and shown."""

from __future__ import annotations

from typing import Final

from tests.benchmarks import (
    audiences,
    commits,
    daemon,
    imports,
    intake,
    mirror,
    pages,
    profiles,
    runs,
    scale,
    year,
)
from tests.benchmarks.rows import Row

ROWS: Final[tuple[Row, ...]] = (
    *scale.ROWS, *daemon.ROWS, *commits.ROWS, *imports.ROWS, *pages.ROWS, *mirror.ROWS, *runs.ROWS, *year.ROWS,
    *profiles.ROWS, *audiences.ROWS, *intake.ROWS,
)  # fmt: skip
