"""The rules within one document that no model holds: providers, job types, methods, a job's config by the catalogue, and
what the expressions of a Stream mean.

They read the document's plain values and take nothing for granted, so that they can speak about the sound parts of a
document whose other parts a model has refused. The fast and the careful parser ask the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from reconciler.core.config_schema import ConfigSchema, compile_schema
from reconciler.core.issue import Issue, both_of, one_of, quoted
from reconciler.core.provider import Catalogue, JobType, Method, Provider
from reconciler.core.suggest import did_you_mean

#: A message lists so many names; beyond, it only suggests.
MAX_LISTED: Final = 12


class Rules:
    """A catalogue and the schemas of its job types, each compiled at the first config that needs it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._schemas: dict[tuple[str, str], ConfigSchema] = {}
        self.credential_names: Final = frozenset(
            name
            for provider in catalogue.values()
            for method in provider.methods
            for name in (*method.fields, *method.optional)
        )

    def schema(self, provider: str, job_type: str) -> ConfigSchema | None:
        """The compiled config schema of a job type; None where there is no such one."""
        compiled = self._schemas.get((provider, job_type))
        if compiled is None:
            declared = self._catalogue.get(provider)
            found = declared.job_type(job_type) if declared else None
            if found is None:
                return None
            compiled = self._schemas[provider, job_type] = compile_schema(found.schema)
        return compiled

    def issues(self, kind: str, raw: Mapping[str, Any]) -> Iterator[Issue]:
        """Everything wrong with a document by these rules. `raw` is whatever stood there."""
        spec = raw.get("spec")
        if not isinstance(spec, Mapping):
            return
        if kind == "Job":
            yield from self._job(raw, spec)
        elif kind == "Authorization":
            yield from self._authorization(spec)
        elif kind == "Stream" and "attributes" in spec:
            from reconciler.core.spec_attributes import attribute_issues  # jobs are many, and have no expressions

            yield from attribute_issues(spec)

    def _provider(self, spec: Mapping[str, Any]) -> Iterator[Issue | Provider]:
        name = spec.get("provider")
        if not isinstance(name, str) or not name:
            return
        provider = self._catalogue.get(name)
        if provider is None:
            yield Issue(("spec", "provider"), _unknown("provider", name, self._catalogue))
        else:
            yield provider

    # --- Job --------------------------------------------------------------------------------------------------------

    def _job(self, raw: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[Issue]:
        yield from _own_dependency(raw, spec)
        for one in self._provider(spec):
            if isinstance(one, Issue):
                yield one
                continue
            name = spec.get("jobType")
            if isinstance(name, str) and name:
                job_type = one.job_type(name)
                if job_type is None:
                    yield Issue(("spec", "jobType"), self._unknown_job_type(one, name))
                else:
                    yield from _use_of_authorization(job_type, spec)
                    yield from _use_of_lane(job_type, spec)
                    yield from self._config(one.name, job_type, spec)

    def _unknown_job_type(self, provider: Provider, name: str) -> str:
        others = [one.name for one in self._catalogue.values() if one.job_type(name)]
        if others:
            return f"provider '{provider.name}' has no job type {quoted(name)}; it is one of provider '{min(others)}'"
        return _unknown(f"job type of provider '{provider.name}'", name, [one.name for one in provider.job_types])

    def _config(self, provider: str, job_type: JobType, spec: Mapping[str, Any]) -> Iterator[Issue]:
        config = spec.get("config", {})
        schema = self.schema(provider, job_type.name)
        if schema is not None and isinstance(config, dict):
            for issue in schema.issues(config):
                yield Issue(("spec", "config", *issue.path), issue.message, issue.on_key)

    # --- Authorization ----------------------------------------------------------------------------------------------

    def _authorization(self, spec: Mapping[str, Any]) -> Iterator[Issue]:
        for one in self._provider(spec):
            if isinstance(one, Issue):
                yield one
            elif isinstance(name := spec.get("method"), str) and name:
                method = one.method(name)
                if method is None:
                    what = f"method of provider '{one.name}'"
                    yield Issue(("spec", "method"), _unknown(what, name, [known.name for known in one.methods]))
                else:
                    yield from _credentials(method, spec.get("credentials", {}))


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    hint = did_you_mean(name, names)
    if not hint and names:
        hint = f"; expected {one_of(names)}" if len(names) <= MAX_LISTED else ""
    return f"unknown {what}: {quoted(name)}{hint or ('' if names else '; there is none')}"


def _own_dependency(raw: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[Issue]:
    metadata, listed = raw.get("metadata"), spec.get("dependsOn")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if isinstance(name, str) and isinstance(listed, list):
        for index, one in enumerate(listed):
            if one == name:
                yield Issue(("spec", "dependsOn", index), "a job cannot depend on itself")


def _use_of_authorization(job_type: JobType, spec: Mapping[str, Any]) -> Iterator[Issue]:
    given = spec.get("authorization") not in (None, "")
    if job_type.authorization == "required" and "authorization" not in spec:
        yield Issue(("spec", "authorization"), f"job type '{job_type.name}' needs an authorization, and none is named")
    elif job_type.authorization == "none" and given:
        yield Issue(("spec", "authorization"), f"job type '{job_type.name}' takes no authorization", on_key=True)


def _use_of_lane(job_type: JobType, spec: Mapping[str, Any]) -> Iterator[Issue]:
    """Only an import can be a backfill."""
    if spec.get("lane") != "backfill":
        return
    if job_type.type != "import":
        what = "an enrichment" if job_type.type == "enrichment" else f"an {job_type.type}"
        yield Issue(("spec", "lane"), f"only an import can be a backfill; job type '{job_type.name}' is {what}")


def _credentials(method: Method, given: Any) -> Iterator[Issue]:
    """Which credentials a method takes. A name that is not one of them may be a secret put in the wrong place, and is
    not repeated."""
    if not isinstance(given, Mapping):
        return
    fields = [*method.fields, *method.optional]
    taken = f"method '{method.name}' takes {both_of(fields) if fields else 'none'}"
    for name in given:
        if name not in fields:
            message = f"unknown credential; {taken}{did_you_mean(name, fields)}"
            yield Issue(("spec", "credentials", name), message, on_key=True)
    for name in method.fields:
        if name not in given:
            message = f"this credential is required by method '{method.name}', and missing"
            yield Issue(("spec", "credentials", name), message)
