"""Relative paths in the specs of a commit: a commit has no folder on disk, so they need a data root to start from.

A run would refuse the same; here it is told with its place, before anything is merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from reconciler.core.document import Document
from reconciler.core.issue import Path, field_text
from reconciler.core.provider import Catalogue
from reconciler.errors import Problem

MESSAGE: Final = (
    "is relative, and specs that are read from a commit have no folder on disk; name the folder that such paths start from "
    "with --data-root DIR (dataRoot in reconciler.yaml), or write an absolute path"
)


def relative_paths(documents: Iterable[Document], catalogue: Catalogue) -> Iterator[Problem]:
    """A problem at each path that would need a folder to start from."""
    fields = _Fields(catalogue)
    for document in documents:
        for path, value in _paths(document, fields):
            if not value.startswith("/"):
                message = f"'{value}' {MESSAGE}"
                yield Problem(document.path, document.line, 1, field_text(path), message, document.kind, document.name)


def _paths(document: Document, fields: _Fields) -> Iterator[tuple[Path, str]]:
    if document.kind == "Job":
        config = document.spec.get("config", {})
        for name in fields.of(document):
            if isinstance(value := config.get(name), str):
                yield ("spec", "config", name), value
    elif document.kind == "Authorization":
        for name, reference in document.spec.get("credentials", {}).items():
            if isinstance(reference, dict) and isinstance(value := reference.get("file"), str):
                yield ("spec", "credentials", name, "file"), value


class _Fields:
    """The config fields of each job type that hold a path on disk, as its schema says (`x-path`)."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._known: dict[tuple[str, str], tuple[str, ...]] = {}

    def of(self, job: Document) -> tuple[str, ...]:
        key = (job.spec["provider"], job.spec["jobType"])
        if key not in self._known:
            provider = self._catalogue.get(key[0])
            job_type = provider.job_type(key[1]) if provider else None
            properties = job_type.schema.get("properties", {}) if job_type else {}
            self._known[key] = tuple(name for name, one in properties.items() if one.get("x-path"))
        return self._known[key]
