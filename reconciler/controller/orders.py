"""What a run is told: everything that it may know, put together from the record at its start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.controller.hands import Hands
from reconciler.controller.rebuilds import observed_rules
from reconciler.core.backfill import LIVE, digest_beyond, lane_of, max_messages_of
from reconciler.core.forgotten import identities_of, identity_rules
from reconciler.core.messages import Order, SegmentRef
from reconciler.core.profile import rules_spec
from reconciler.core.provider import JobType
from reconciler.core.rules import rules_of
from reconciler.core.streams import streams_of
from reconciler.errors import Fatal
from reconciler.record.jobs import JobRow
from reconciler.record.runs import RunRow


def order_for(hands: Hands, job: JobRow, run: RunRow) -> Order:
    """Raises Fatal where the job's provider, job type or authorization is not there any more."""
    config: Mapping[str, Any] = job.spec.get("config", {})
    job_type = _job_type(hands, job)
    reads, writes = (streams_of(job_type, config, which) for which in ("reads", "writes"))
    method, credentials = _authorization(hands, job.spec.get("authorization", ""))
    timeout_ms = rules_of(job.spec).timeout_ms
    settings = hands.settings
    return Order(
        job=job.name,
        run=run.id,
        attempt=run.attempt,
        generation=run.generation,
        root=str(settings.files_root or ""),
        path=job.path,
        folder=str(settings.folder_of(job.path) or ""),
        provider=job.spec["provider"],
        job_type=job.spec["jobType"],
        config=config,
        authorization=job.spec.get("authorization", ""),
        method=method,
        credentials=credentials,
        cursor=job.cursor,
        unit=run.units + 1,
        omitted=run.totals.omitted,
        open_intents=hands.record.runs.open_intents(job.id),
        streams={name: _segments(hands, name) for name in reads},
        columns={name: _declared(hands, name, "columns") for name in reads},
        data_dir=str(settings.state / "data"),
        allow_paths=tuple(str(path) for path in settings.allow_paths),
        allow_exec=settings.allow_exec,
        secret_key=str(hands.record.setting("secret_key")),
        timeout_s=None if timeout_ms is None else timeout_ms / 1000,
        writes=writes,
        times={name: _declared(hands, name, "timestamp") for name in writes},
        secret_variables=secret_variables(hands),
        **(_profiles(hands, job, job_type, config) | _lane(hands, job, run)),
        **forgotten(hands, writes),
    )


def secret_variables(hands: Hands) -> tuple[str, ...]:
    """The variables of the environment that any authorization refers to, or the operator's settings."""
    authorizations = hands.record.resources.resources("Authorization")
    references = [one for found in authorizations for one in found.spec.get("credentials", {}).values()]
    settings = hands.settings
    told = [one.credentials for one in settings.notify] + [one.credentials for one in settings.commit_statuses]
    told += [settings.followed.credentials] if settings.followed is not None else []
    references += [one for credentials in told for one in credentials.values()]
    references += [settings.push_secret] if settings.push_secret else []
    return tuple(sorted({one["env"] for one in references if "env" in one}))


def _lane(hands: Hands, job: JobRow, run: RunRow) -> dict[str, Any]:
    """What a backfill must know; nothing for a live run. One that was held at its limit, and that nobody has approved, has
    nothing left of it when its schedule lets it look again."""
    if lane_of(job.spec) == LIVE:
        return {}
    limit, held = max_messages_of(job.spec), hands.record.approvals.held(job.id)
    is_spent = held is not None and held.digest == digest_beyond(job.name, run.generation, limit)
    return {
        "lane": lane_of(job.spec),
        "max_messages": limit,
        "landed": limit if is_spent else run.totals.rows,
        "approved": hands.record.approvals.approved(job.id),
    }


def _profiles(hands: Hands, job: JobRow, job_type: JobType, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run must know that reads profiles; nothing for any other."""
    own = hands.record.runs.own_files(job.id)
    audience = _audience(hands, job_type, config)
    if audience is None and not job_type.reads_profiles:
        return {"own_files": own}
    return {
        "own_files": own,
        "audience": audience,
        "profiles": tuple(rules_spec(observed_rules(hands.record))),
        "approved": hands.record.approvals.approved(job.id),
        "memory_mb": hands.settings.memory_mb,
        "forgotten_members": hands.record.forgotten.members_to_remove(job.name),
    }


def forgotten(hands: Hands, writes: Sequence[str] | None) -> dict[str, Any]:
    """What a run must know that lands messages on streams which speak of people (None: on any), once anybody is
    forgotten; nothing for any other."""
    if writes is not None and not writes:
        return {}
    hashes = hands.record.forgotten.hashes()
    if not hashes:
        return {}
    streams = hands.record.resources.resources("Stream")
    rules = identity_rules((one.name, one.spec) for one in streams if writes is None or one.name in writes)
    return {"forgotten": hashes, "identities": identities_of(rules)} if rules.streams else {}


def _audience(hands: Hands, job_type: JobType, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The audience that the config names in a field annotated with `x-audience`. Raises Fatal where it is gone."""
    name = config.get(job_type.audience_field, "")
    if not name:
        return None
    resource = hands.record.resources.resource("Audience", name)
    if resource is None:
        raise Fatal(f"the audience {name} is not there any more")
    return {"name": name, "where": resource.spec["where"]}


def _job_type(hands: Hands, job: JobRow) -> JobType:
    provider = hands.catalogue().get(job.spec["provider"])
    job_type = None if provider is None else provider.job_type(job.spec["jobType"])
    if job_type is None:
        raise Fatal(
            f"there is no job type {job.spec['jobType']} of provider {job.spec['provider']} in this installation"
        )
    return job_type


def _segments(hands: Hands, stream: str) -> tuple[SegmentRef, ...]:
    return hands.record.streams.segments(stream)


def _declared(hands: Hands, stream: str, what: str) -> Mapping[str, str]:
    resource = hands.record.resources.resource("Stream", stream)
    return {} if resource is None else resource.spec.get(what, {})


def _authorization(hands: Hands, name: str) -> tuple[str, Mapping[str, Any]]:
    if not name:
        return "", {}
    resource = hands.record.resources.resource("Authorization", name)
    if resource is None:
        raise Fatal(f"the authorization {name} is not there any more")
    return resource.spec.get("method", ""), resource.spec.get("credentials", {})
