"""What `reconciler.yaml` may say: the settings that an operator keeps beside the root, as a model of plain top-level fields.

It is no spec: it declares nothing to be made true, and no commit of a spec's author has to touch it. A section of it stands
here as a model and in `operator.py` as values.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from reconciler.core.prune import DEFAULT_MAX_DELETES, DEFAULT_MAX_PERCENT
from reconciler.core.spec import API_VERSION, Model, Reference
from reconciler.core.spec_types import FilePath, Line

KIND: Final = "Settings"

MAX_SLOTS: Final = 512
LEAST_MEMORY_MB: Final = 64
MAX_MEMORY_MB: Final = 1 << 20
MAX_ALLOWED_PATHS: Final = 64


class PushHook(Model):
    """The webhook that makes the daemon look at once."""

    secret: Reference = Field(description="What the forge signs with (HMAC-SHA256), or sends as its token (GitLab).")


class HooksSection(Model):
    """What the daemon's listener answers besides messages."""

    push: PushHook | None = Field(
        None, description="`POST /hooks/push`: a forge says that a repository was pushed to; the daemon looks at once."
    )


class Prune(Model):
    """How many jobs a pass may delete without an approval: max(1, min(maxDeletes, maxPercent of the jobs))."""

    max_deletes: Annotated[int, Field(ge=0)] = Field(DEFAULT_MAX_DELETES, description="So many jobs at most.")
    max_percent: Annotated[int, Field(ge=0, le=100)] = Field(
        DEFAULT_MAX_PERCENT, description="So many of a hundred jobs at most."
    )


class OperatorFile(Model):
    """The whole file. All of it is optional."""

    api_version: Literal["reconciler/v1"] = Field(API_VERSION, description="The version of this format.")
    kind: Literal["Settings"] = Field(KIND, description="What this file is.")
    slots: Annotated[int, Field(ge=1, le=MAX_SLOTS)] = Field(8, description="Runs at a time, as --slots.")
    backfill_slots: Annotated[int, Field(ge=1, le=MAX_SLOTS)] = Field(
        1, description="Runs of backfills at a time, besides, as --backfill-slots."
    )
    memory: Annotated[int, Field(ge=LEAST_MEMORY_MB, le=MAX_MEMORY_MB)] = Field(
        1024, description="MiB that a build of profiles, or a run that reads them, may hold, as --memory."
    )
    listen: Line = Field("", description="HOST:PORT at which the daemon takes messages in, as --listen.")
    status_dir: FilePath = Field("", description="Where statuses and logs are written, as --status-dir.")
    allow_paths: Annotated[list[FilePath], Field(max_length=MAX_ALLOWED_PATHS)] = Field(
        default=[], description="Folders outside the root that a spec's path may lead into, as --allow-path."
    )
    allow_exec: bool = Field(
        False, description="Whether {exec: […]} secret references may run their command, as --allow-exec."
    )
    source: Line = Field("", description="`git:REF`: the specs are read from that commit, as --source.")
    data_root: FilePath = Field(
        "", description="Where relative paths in the specs of a commit start from, as --data-root."
    )
    prune: Prune | None = Field(None, description="How many jobs a pass may delete without an approval.")

    hooks: HooksSection | None = Field(None, description="What --listen answers besides messages.")

    def normal(self) -> dict[str, Any]:
        """Plain values by the names that the file uses: only what it says."""
        said = self.model_dump(by_alias=True, exclude_unset=True, exclude={"api_version", "kind"})
        return {name: said[name] for name in sorted(said)}
