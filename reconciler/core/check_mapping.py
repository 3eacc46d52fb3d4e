"""What an export of an audience says of its fields: each comes from something that a Stream declares, and its transforms
are known. A run would refuse the same; here it is told with its place, before anything is merged."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from reconciler.core.document import Document
from reconciler.core.issue import Path
from reconciler.core.members import NOBODY_KNOWN, PROFILE_ID
from reconciler.core.suggest import did_you_mean

#: A path in a document, and what is wrong there.
Finding = tuple[Path, str]


def mapping_findings(
    job: Document, attributes: Collection[str], keys: Collection[str], *, uncertain: bool
) -> Iterator[Finding]:
    """What is wrong with `config.fields`. Where it is `uncertain` what Streams declare, a name that is missing may be
    declared by one that is invalid at the moment."""
    fields = job.spec.get("config", {}).get("fields")
    for name, field in fields.items() if isinstance(fields, dict) else ():
        if not isinstance(field, dict):
            continue
        place: Path = ("spec", "config", "fields", name)
        message = _source(str(field.get("from", "")), attributes, keys, uncertain=uncertain)
        if message:
            yield (*place, "from"), message
        yield from (((*place, *path), said) for path, said in _transform(field))
    if isinstance(fields, dict) and fields and not any(_may_identify(one, attributes, keys) for one in fields.values()):
        yield ("spec", "config", "fields"), NOBODY_KNOWN


def _may_identify(field: Any, attributes: Collection[str], keys: Collection[str]) -> bool:
    """Whether a destination may know members by a field: it says so itself, comes from an identity key or the profile's
    id, or from what is not known."""
    if not isinstance(field, dict):
        return True
    said = field.get("identifier")
    if said is not None:
        return said is not False
    kind, _, name = str(field.get("from", "")).rpartition(":")
    return name == PROFILE_ID or kind == "key" or (name in keys and kind != "attribute") or name not in attributes


def _source(source: str, attributes: Collection[str], keys: Collection[str], *, uncertain: bool) -> str:
    """Why a source leads nowhere, or not to one thing; empty where it is sound."""
    if source == PROFILE_ID:
        return ""
    kind, colon, name = source.rpartition(":")
    kinds = {"attribute": attributes, "key": keys}
    found = [one for one, known in kinds.items() if name in known and (not colon or kind == one)]
    if len(found) > 1:
        return f"'{name}' is an attribute and an identity key; write attribute:{name} or key:{name}"
    if found or uncertain:
        return ""
    known = sorted(kinds.get(kind, {*attributes, *keys}))
    what = {"attribute": "no attribute", "key": "no identity key"}.get(kind, "no attribute or identity key")
    return f"there is {what} '{name}'{did_you_mean(name, known)}"


def _transform(field: Mapping[str, Any]) -> Iterator[Finding]:
    steps = field.get("transform")
    if not steps or not isinstance(steps, list):
        return
    from reconciler.core.transforms import BadTransform, parse_transforms  # only where a spec has some

    try:
        parse_transforms(steps)
    except BadTransform as error:
        yield ("transform",), str(error)
