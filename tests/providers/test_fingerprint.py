"""What is parsed is remembered under the providers that are installed; asking which they are is cheap."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reconciler.providers import fingerprint

VENDOR = (
    "[console_scripts]\nvendor = vendor:main\n\n[reconciler.providers]\nvendor = vendor.provider\n\n[other]\nx = y\n"
)


def ship(site: Path, version: str, entry_points: str = VENDOR) -> None:
    folder = site / f"vendor-{version}.dist-info"
    folder.mkdir()
    (folder / "entry_points.txt").write_text(entry_points)


def test_a_provider_that_is_installed_or_upgraded_changes_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path), str(tmp_path / "missing")])
    assert fingerprint() == before
    ship(tmp_path, "1.0")
    first = fingerprint()
    assert first.endswith("vendor-1.0.dist-info vendor = vendor.provider")
    (tmp_path / "vendor-1.0.dist-info").rename(tmp_path / "vendor-1.1.dist-info")
    assert fingerprint() not in (before, first)


def test_a_distribution_without_providers_leaves_the_fingerprint_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint()
    ship(tmp_path, "1.0", "[console_scripts]\nvendor = vendor:main\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert fingerprint() == before
