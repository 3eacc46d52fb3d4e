"""The rules across files: what a document says about others (design, sections 2 and 3). Pure, one pass over light facts.

A problem makes invalid every document of its `kind` and `name`: a name that is declared twice is invalid in both places.
What is invalid leaves its job as it was, so a reference counts as sound where it leads to a document that is only
invalid at the moment (`broken`) or that the record still holds (`kept`): its own problem is told once, where it stands.

Places are the lines on which documents begin; `repo.parse.locate` finds the fields.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from reconciler.core.document import KINDS, Document, Kind
from reconciler.core.issue import Path, field_text
from reconciler.core.provider import Catalogue
from reconciler.core.suggest import Names
from reconciler.errors import Problem

#: Names of a dependency cycle that a message shows at most.
MAX_SHOWN: Final = 12

_NAME: Final[Path] = ("metadata", "name")
_RENAMED_FROM: Final[Path] = ("metadata", "renamedFrom")
_AUTHORIZATION: Final[Path] = ("spec", "authorization")


def check(
    documents: Sequence[Document],
    catalogue: Catalogue,
    *,
    kept: Iterable[Document] = (),
    broken: Collection[tuple[str, str]] = (),
) -> list[Problem]:
    """Every problem between these documents (all valid by themselves), in order of path and place.

    `kept` are documents that the record holds and the tree does not show valid now (its last known good); `broken` are
    the (kind, name) of documents with problems of their own. Both can be referred to; nothing is said about them.
    """
    world = _World(documents, kept, broken)
    problems = [*_duplicates(world), *_renames(world)]
    named = _NamingFields(catalogue)
    for document in documents:
        if document.kind == "Job":
            problems += _references(document, world, named)
    problems += _cycles(world)
    problems += _profiles(world)
    problems += _mappings(world, named)
    return sorted(problems)


class _World:
    """What is declared, by kind and name."""

    def __init__(
        self, documents: Sequence[Document], kept: Iterable[Document], broken: Collection[tuple[str, str]]
    ) -> None:
        self.documents = documents
        self.declared: dict[str, dict[str, list[Document]]] = {kind: {} for kind in KINDS}
        for one in documents:
            self.declared[one.kind].setdefault(one.name, []).append(one)
        self.kept: dict[str, dict[str, Document]] = {kind: {} for kind in KINDS}
        for one in kept:
            self.kept[one.kind][one.name] = one
        self.broken = set(broken)
        self._names: dict[str, Names] = {}

    def knows(self, kind: str, name: str) -> bool:
        return name in self.declared[kind] or name in self.kept[kind] or (kind, name) in self.broken

    def get(self, kind: str, name: str) -> Document | None:
        """The document that a name leads to, where its content is known."""
        found = self.declared[kind].get(name)
        return found[0] if found else self.kept[kind].get(name)

    def unknown(self, kind: str, name: str) -> str:
        if kind not in self._names:
            others = {name for one, name in self.broken if one == kind}
            self._names[kind] = Names({*self.declared[kind], *self.kept[kind], *others})
        return f"unknown {kind.lower()} '{name}'{self._names[kind].did_you_mean(name)}"


def _problem(document: Document, path: Path, message: str) -> Problem:
    return Problem(document.path, document.line, 1, field_text(path), message, document.kind, document.name)


# --- names ----------------------------------------------------------------------------------------------------------


def _duplicates(world: _World) -> Iterator[Problem]:
    for kind, by_name in world.declared.items():
        for name, same in by_name.items():
            for index, one in enumerate(same if len(same) > 1 else ()):
                other = same[1] if index == 0 else same[0]
                message = f"{kind} '{name}' is declared twice; the other is at {other.path}:{other.line}"
                yield _problem(one, _NAME, message)


def _renames(world: _World) -> Iterator[Problem]:
    renamed: defaultdict[tuple[str, str], list[Document]] = defaultdict(list)
    for one in world.documents:
        if one.renamed_from:
            renamed[one.kind, one.renamed_from].append(one)
    for (kind, old), claims in renamed.items():
        still = world.declared[kind].get(old)
        for index, one in enumerate(claims):
            if still:
                message = (
                    f"'{old}' is still declared at {still[0].path}:{still[0].line}; a renamed document leaves its name"
                )
                yield _problem(one, _RENAMED_FROM, message)
            elif (kind, old) in world.broken:
                message = (
                    f"'{old}' is still declared, in a document that is invalid; a renamed document leaves its name"
                )
                yield _problem(one, _RENAMED_FROM, message)
            elif len(claims) > 1:
                other = claims[1] if index == 0 else claims[0]
                message = f"'{old}' became '{other.name}' too, at {other.path}:{other.line}; only one can be its heir"
                yield _problem(one, _RENAMED_FROM, message)


# --- references -----------------------------------------------------------------------------------------------------


#: What a config field names, by how its schema is annotated.
_ANNOTATIONS: Final[Mapping[str, Kind]] = {"x-stream": "Stream", "x-audience": "Audience"}


class _NamingFields:
    """Which config fields of a job type name a document of another kind, each looked up once."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._fields: dict[tuple[str, str], tuple[tuple[str, Kind], ...]] = {}

    def __call__(self, spec: Mapping[str, Any]) -> tuple[tuple[str, Kind], ...]:
        key = (spec["provider"], spec["jobType"])
        if key not in self._fields:
            provider = self._catalogue.get(key[0])
            job_type = provider.job_type(key[1]) if provider else None
            properties: Mapping[str, Any] = job_type.schema.get("properties", {}) if job_type else {}
            self._fields[key] = tuple(
                (name, kind) for name, one in properties.items() for mark, kind in _ANNOTATIONS.items() if mark in one
            )
        return self._fields[key]


def _references(job: Document, world: _World, named: _NamingFields) -> Iterator[Problem]:
    authorization = job.spec.get("authorization")
    if authorization:
        yield from _authorization(job, authorization, world)
    for index, name in enumerate(job.spec.get("dependsOn", ())):
        if not world.knows("Job", name):
            yield _problem(job, ("spec", "dependsOn", index), world.unknown("Job", name))
    config = job.spec.get("config", {})
    for field, kind in named(job.spec):
        name = config.get(field)
        if isinstance(name, str) and name and not world.knows(kind, name):
            yield _problem(job, ("spec", "config", field), world.unknown(kind, name))


def _authorization(job: Document, name: str, world: _World) -> Iterator[Problem]:
    if not world.knows("Authorization", name):
        yield _problem(job, _AUTHORIZATION, world.unknown("Authorization", name))
        return
    found = world.get("Authorization", name)
    wanted = job.spec["provider"]
    if found is not None and found.spec["provider"] != wanted:
        message = (
            f"expected an authorization of provider '{wanted}', found '{name}' of provider '{found.spec['provider']}'"
        )
        yield _problem(job, _AUTHORIZATION, message)


# --- profiles -------------------------------------------------------------------------------------------------------


def _profiles(world: _World) -> Iterator[Problem]:
    """Where a Stream is invalid and nothing is known of it, an Audience may ask for what that one declares."""
    streams = [same[0] for same in world.declared["Stream"].values()]
    audiences = [one for same in world.declared["Audience"].values() for one in same]
    kept = [one for name, one in world.kept["Stream"].items() if name not in world.declared["Stream"]]
    uncertain = _is_uncertain(world)
    if not audiences and not any("attributes" in one.spec for one in streams):
        return
    from reconciler.core.check_profiles import profile_findings  # only where something is built

    for document, path, message in profile_findings(streams, kept, audiences, uncertain=uncertain):
        yield _problem(document, path, message)


def _is_uncertain(world: _World) -> bool:
    """Whether a Stream is invalid of which nothing else is known."""
    return any(kind == "Stream" and world.get(kind, name) is None for kind, name in world.broken)


def _mappings(world: _World, named: _NamingFields) -> Iterator[Problem]:
    """The fields of exports of audiences."""
    jobs = [
        one for one in world.documents if one.kind == "Job" and any(kind == "Audience" for _, kind in named(one.spec))
    ]
    if not jobs:
        return
    from reconciler.core.check_mapping import mapping_findings  # only where something is exported

    streams = [world.get("Stream", name) for name in {*world.kept["Stream"], *world.declared["Stream"]}]
    specs = [one.spec for one in streams if one is not None]
    attributes = {name for spec in specs for name in spec.get("attributes", ())}
    keys = {one["key"] for spec in specs for one in spec.get("identity", ())}
    for job in jobs:
        for path, message in mapping_findings(job, attributes, keys, uncertain=_is_uncertain(world)):
            yield _problem(job, path, message)


# --- cycles ---------------------------------------------------------------------------------------------------------


def _cycles(world: _World) -> Iterator[Problem]:
    """A problem for each job that waits for itself through others."""
    graph: dict[str, list[str]] = {}
    for name in {*world.kept["Job"], *world.declared["Job"]}:
        one = world.get("Job", name)
        depends_on = one.spec.get("dependsOn", ()) if one else ()
        if depends_on:
            graph[name] = [other for other in depends_on if other != name]
    for knot in knots(graph):
        shown = _shown(_cycle(graph, knot))
        for name in sorted(knot):
            for one in world.declared["Job"].get(name, ()):
                yield _problem(one, ("spec", "dependsOn"), f"jobs wait for each other: {shown}")


def _shown(cycle: list[str]) -> str:
    names = [*cycle, cycle[0]]
    if len(names) > MAX_SHOWN:
        names = [*names[: MAX_SHOWN - 2], f"… ({len(names) - MAX_SHOWN + 1} more)", names[-1]]
    return " -> ".join(names)


def _cycle(graph: Mapping[str, list[str]], knot: Collection[str]) -> list[str]:
    """The shortest way from the knot's first name back to it."""
    first = min(knot)
    came_from: dict[str, str] = {}
    edge = [first]
    while edge:
        reached: list[str] = []
        for name in edge:
            for other in graph.get(name, ()):
                if other == first:
                    return _way(came_from, first, name)
                if other in knot and other not in came_from:
                    came_from[other] = name
                    reached.append(other)
        edge = reached
    raise AssertionError("a knot without a cycle")


def _way(came_from: Mapping[str, str], first: str, last: str) -> list[str]:
    way = [last]
    while way[-1] != first:
        way.append(came_from[way[-1]])
    return way[::-1]


def knots(graph: Mapping[str, Sequence[str]]) -> list[set[str]]:
    """The strongly connected components of more than one name (Tarjan's algorithm, without recursion), in the order of
    their first names."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    held: list[str] = []
    on_hold: set[str] = set()
    found: list[set[str]] = []
    for root in graph:
        if root in order:
            continue
        work: list[tuple[str, Iterator[str]]] = []
        _enter(root, graph, order, low, held, on_hold, work)
        while work:
            name, others = work[-1]
            other = next(others, None)
            if other is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == order[name]:
                    found.append(_release(name, held, on_hold))
            elif other not in order:
                _enter(other, graph, order, low, held, on_hold, work)
            elif other in on_hold:
                low[name] = min(low[name], order[other])
    return sorted((knot for knot in found if len(knot) > 1), key=min)


def _enter(
    name: str, graph: Mapping[str, Sequence[str]], order: dict[str, int], low: dict[str, int], held: list[str],
    on_hold: set[str], work: list[tuple[str, Iterator[str]]],
) -> None:  # fmt: skip
    order[name] = low[name] = len(order)
    held.append(name)
    on_hold.add(name)
    work.append((name, iter(graph.get(name, ()))))


def _release(name: str, held: list[str], on_hold: set[str]) -> set[str]:
    knot: set[str] = set()
    while name not in knot:
        knot.add(held.pop())
    on_hold -= knot
    return knot
