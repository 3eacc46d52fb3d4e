"""What an operator has settled for every command and the daemon, in `reconciler.yaml` beside the root, as plain frozen values.

`operator_of` reads the file's normalised values (`operator_file.py` has the model); what the file leaves out is None or its
default here, so that whoever needs only the values pays for importing no model. An option on the command line wins over the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.prune import DEFAULT_MAX_DELETES, DEFAULT_MAX_PERCENT, Budget
from reconciler.core.value import dataclass

if TYPE_CHECKING:
    from reconciler.core.notices import CommitStatusRule, NotifyRule

#: The file's name; it stands beside the root folder.
FILE_NAME: Final = "reconciler.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Paths are as the file has them: relative to its folder. `memory_mb` is in MiB. `push_secret` is the reference to the
    secret of `POST /hooks/push`; `repo` the section of that name as it is written, `verify_keys` public keys or the paths of
    their files."""

    slots: int | None = None
    backfill_slots: int | None = None
    memory_mb: int | None = None
    listen: str = ""
    status_dir: str = ""
    allow_paths: tuple[str, ...] = ()
    allow_exec: bool = False
    push_secret: Mapping[str, Any] | None = None
    source: str = ""
    data_root: str = ""
    budget: Budget = field(default_factory=Budget)
    notify: tuple[NotifyRule, ...] = ()
    commit_statuses: tuple[CommitStatusRule, ...] = ()
    repo: Mapping[str, Any] | None = None
    verify_keys: tuple[str, ...] = ()


def operator_of(values: Mapping[str, Any]) -> Operator:
    """The values of a valid file, normalised; of no file where there are none."""
    from reconciler.core.notices import commit_statuses_of, rules_of  # only where there is a file

    return Operator(
        slots=values.get("slots"),
        backfill_slots=values.get("backfillSlots"),
        memory_mb=values.get("memory"),
        listen=values.get("listen", ""),
        status_dir=values.get("statusDir", ""),
        allow_paths=tuple(values.get("allowPaths", ())),
        allow_exec=values.get("allowExec", False),
        notify=rules_of(values.get("notify", ())),
        commit_statuses=commit_statuses_of(values.get("commitStatus", {})),
        push_secret=((values.get("hooks") or {}).get("push") or {}).get("secret"),
        source=values.get("source", ""),
        data_root=values.get("dataRoot", ""),
        budget=_budget(values.get("prune") or {}),
        repo=values.get("repo"),
        verify_keys=tuple((values.get("verify") or {}).get("keys", ())),
    )


def _budget(said: Mapping[str, Any]) -> Budget:
    return Budget(
        max_deletes=said.get("maxDeletes", DEFAULT_MAX_DELETES), max_percent=said.get("maxPercent", DEFAULT_MAX_PERCENT)
    )
