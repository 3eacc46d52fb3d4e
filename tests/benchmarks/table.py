"""All rows, in the order in which they are measured and shown."""

from __future__ import annotations

from typing import Final

from tests.benchmarks import commits, daemon, imports, pages, scale
from tests.benchmarks.rows import Row

ROWS: Final[tuple[Row, ...]] = (*scale.ROWS, *commits.ROWS, *daemon.ROWS, *imports.ROWS, *pages.ROWS)
