"""What `reconciler.yaml` may say: the settings that an operator keeps beside the root, as a model of plain top-level fields.

It is no spec: it declares nothing to be made true, and no commit of a spec's author has to touch it. A section of it stands
here as a model and in `operator.py` as values.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from reconciler.core.issue import both_of, found
from reconciler.core.notices import DEFAULT_BATCH_MS, What
from reconciler.core.operator_repo import RepoSection, VerifySection
from reconciler.core.prune import DEFAULT_MAX_DELETES, DEFAULT_MAX_PERCENT
from reconciler.core.spec import API_VERSION, Model, Reference
from reconciler.core.spec_types import (
    FilePath,
    LabelKey,
    LabelValue,
    Line,
    Name,
    Read,
    Word,
    choice,
    duration,
    expected,
    refusal,
    text_of,
)
from reconciler.core.words import DAY_MS

KIND: Final = "Settings"

MAX_SLOTS: Final = 512
LEAST_MEMORY_MB: Final = 64
MAX_MEMORY_MB: Final = 1 << 20
MAX_ALLOWED_PATHS: Final = 64
MAX_NOTIFY: Final = 64
MAX_GLOBS: Final = 200
MAX_RECIPIENTS: Final = 50
MAX_URL: Final = 2_000


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


def _read_url(value: Any) -> str:
    text = text_of(value, "an address such as https://hooks.example.org/x")
    if not re.fullmatch(r"https?://[^\s/@]+(/[^\s]*)?", text) or len(text) > MAX_URL:
        raise expected("an address that begins with https:// or http:// and holds no user name", text)
    return text


def _read_mailbox(value: Any) -> str:
    text = text_of(value, "an e-mail address")
    if not re.fullmatch(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9.-]{1,255}", text):
        raise expected("an e-mail address such as ops@example.org", text)
    return text


def _read_glob(value: Any) -> str:
    text = text_of(value, "a name or a pattern such as export-*")
    if not re.fullmatch(r"[a-z0-9*?\[\]!-]{1,100}", text):
        raise expected("a name or a pattern such as export-*", text)
    return text


def _read_repository(value: Any) -> str:
    text = text_of(value, "a repository such as acme/jobs")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}", text):
        raise expected("a repository such as acme/jobs", text)
    return text


Url = Annotated[str, Read(_read_url, {"type": "string", "pattern": "^https?://", "maxLength": MAX_URL})]
Mailbox = Annotated[str, Read(_read_mailbox, {"type": "string", "format": "email"})]
JobGlob = Annotated[str, Read(_read_glob, {"type": "string", "maxLength": 100})]
Repository = Annotated[str, Read(_read_repository, {"type": "string", "examples": ["acme/jobs"]})]
WhatName = Annotated[str, choice(tuple(What))]


class SlackChannel(Model):
    """An incoming webhook of Slack's."""

    url: Reference = Field(description="The webhook's address, which is a secret.")


class WebhookChannel(Model):
    """A webhook of one's own: a POST of JSON."""

    url: Url = Field(description="Where it is sent.")
    secret: Reference | None = Field(None, description="Signs every body: `X-Signature: sha256=…` (HMAC-SHA256).")
    token: Reference | None = Field(None, description="Sent as a bearer token.")


class EmailChannel(Model):
    """A message over SMTP."""

    host: Word = Field(description="The mail server.")
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="587 unless set; 465 with `security: tls`, 25 with `none`."
    )
    security: Annotated[str, choice(("starttls", "tls", "none"))] = Field(
        "starttls", description="How the connection is secured; certificates are verified."
    )
    sender: Mailbox = Field(alias="from", description="Who sends it.")
    to: Annotated[list[Mailbox], Field(min_length=1, max_length=MAX_RECIPIENTS)] = Field(description="Who gets it.")
    username: Word = Field("", description="Who logs in; `from` unless set.")
    password: Reference | None = Field(None, description="The password; without one nobody logs in.")


class NotifyFields(Model):
    """Who is told of what: exactly one of slack, webhook and email."""

    name: Name = Field(description="Names the rule; unique.")
    on: Annotated[list[WhatName], Field(min_length=1)] = Field(
        default=list(What), description="What is told; of what is not, no recovery is told either."
    )
    jobs: Annotated[list[JobGlob], Field(max_length=MAX_GLOBS)] = Field(
        default=[], description="Names or patterns of jobs; then nothing else is told."
    )
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] = Field(
        default={}, description="Labels of what is told of, all of which must be there."
    )
    batch: Annotated[int, duration(0, DAY_MS, "30s")] = Field(
        DEFAULT_BATCH_MS, description="So long notices are gathered and told together."
    )
    slack: SlackChannel | None = Field(None, description="To a channel of Slack's.")
    webhook: WebhookChannel | None = Field(None, description="To a webhook.")
    email: EmailChannel | None = Field(None, description="By e-mail.")

    @model_validator(mode="after")
    def _has_one_channel(self) -> NotifyFields:
        given = [name for name in ("slack", "webhook", "email") if getattr(self, name) is not None]
        if len(given) != 1:
            raise refusal(
                f"expected exactly one of slack, webhook or email, found {both_of(given) if given else 'none'}"
            )
        return self


class GithubStatus(Model):
    """Commit statuses on GitHub."""

    repository: Repository = Field(description="OWNER/NAME.")
    token: Reference = Field(description="A token that may write commit statuses.")
    api_url: Url = Field(
        "https://api.github.com", description="The address of the API; another one for GitHub Enterprise."
    )
    context: Word = Field("reconcile", description="What the status is called there.")
    target_url: Url = Field("", description="Where the status leads to.")


class GitlabStatus(Model):
    """Commit statuses on GitLab."""

    project: Word = Field(description="The project's path or number.")
    token: Reference = Field(description="A token with the scope `api`.")
    url: Url = Field("https://gitlab.com", description="The address of the instance.")
    context: Word = Field("reconcile", description="What the status is called there.")
    target_url: Url = Field("", description="Where the status leads to.")


class CommitStatusFields(Model):
    """Whether a commit was applied, shown where it is."""

    github: GithubStatus | None = Field(None, description="On GitHub.")
    gitlab: GitlabStatus | None = Field(None, description="On GitLab.")


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

    notify: Annotated[list[NotifyFields], Field(max_length=MAX_NOTIFY)] = Field(
        default=[], description="Who is told what goes wrong, and that it is over."
    )
    commit_status: CommitStatusFields | None = Field(None, description="Forges that show whether a commit was applied.")
    repo: RepoSection | None = Field(None, description="The specs are read from a clone of this repository.")
    verify: VerifySection | None = Field(None, description="Only signed commits are the desired state.")
    hooks: HooksSection | None = Field(None, description="What --listen answers besides messages.")

    @model_validator(mode="after")
    def _rules_have_names_of_their_own(self) -> OperatorFile:
        names = [one.name for one in self.notify]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise refusal(f"expected a name of its own, found {found(name)} again", f"notify.{index}.name")
        return self

    @model_validator(mode="after")
    def _has_one_source(self) -> OperatorFile:
        if self.source and self.repo is not None:
            raise refusal("expected source or repo, found both", "source", on_key=True)
        return self

    def normal(self) -> dict[str, Any]:
        """Plain values by the names that the file uses: only what it says."""
        said = self.model_dump(by_alias=True, exclude_unset=True, exclude={"api_version", "kind"})
        return {name: said[name] for name in sorted(said)}
