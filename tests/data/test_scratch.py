"""What queries keep on disk for a while, and what is left of them when their process dies."""

from __future__ import annotations

import os
from pathlib import Path

from reconciler.data.engine import workspace
from reconciler.data.segments import sweep_temporary


def test_folders_of_queries_whose_process_is_gone_are_removed(tmp_path: Path) -> None:
    for name in (".spill-a", ".mapping-b", ".preview-c", ".spill-new", ".elsewhere-d", "streams"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
        os.utime(tmp_path / name, (1_000, 2_000_000 if name == ".spill-new" else 1_000))
    assert sweep_temporary(tmp_path, 1_500_000_000) == [".mapping-b", ".preview-c", ".spill-a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".elsewhere-d", ".spill-new", "streams"]


def test_a_workspace_leaves_nothing_behind(tmp_path: Path) -> None:
    with workspace(tmp_path, memory_mb=64) as connection:
        connection.execute("SELECT 1").fetchall()
        assert [path.name[:7] for path in tmp_path.iterdir()] == [".spill-"]
    assert list(tmp_path.iterdir()) == []
