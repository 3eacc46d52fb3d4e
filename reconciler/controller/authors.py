"""Who caused the actions of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from reconciler.core.value import dataclass
from reconciler.repo.history import Commit

if TYPE_CHECKING:
    from reconciler.record.resources import By


@dataclass(frozen=True, slots=True, kw_only=True)
class Authors:
    """Who caused what: by file, and for what no commit holds."""

    by_path: Mapping[str, By]
    otherwise: By

    def of(self, path: str) -> By:
        return self.by_path.get(path, self.otherwise)


def by_of(commit: Commit, revision: str = "") -> By:
    """Whom a change is of, by the commit that made it; nobody is named where the history of a clone ends there, for then it
    seems to have made all that it holds."""
    from reconciler.record.resources import By  # only where something changed

    if commit.boundary:
        return By(author="", revision=revision)
    return By(author=commit.author, commit=commit.hash, revision=revision)
