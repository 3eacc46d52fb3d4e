"""From a spec file's bytes to documents and problems: the one door, which `validate` and the daemon both go through.

Each document of a file takes the fast way where it is surely valid, and the careful one otherwise; only the careful one
speaks of problems, so that every message has its place. What a content says depends on nothing but the content and the
catalogue: `Parsed` has a JSON form that the cache keeps, and reading it back imports no model and no parser.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson

from reconciler.core.document import KINDS, Document, digest_of
from reconciler.core.provider import Catalogue
from reconciler.core.value import dataclass
from reconciler.errors import Problem
from reconciler.repo.bulk import collection_paused
from reconciler.repo.divide import cores, divided

if TYPE_CHECKING:
    from reconciler.core.spec_rules import Rules

#: Raised whenever the same content may parse to something else: part of `version_of`.
FORMAT: Final = 2
#: Problems of one file that are told; one more says how many there are beyond.
MAX_PROBLEMS: Final = 1_000
#: From so many bytes on, more than one process parses.
PARALLEL_BYTES: Final = 200_000

#: Made once: `json.dumps` with other than its defaults makes an encoder for each value.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What one file says. A document with a problem is not among the documents; its problems name it by kind and name,
    or have neither where these cannot be known for sure: then it may be any."""

    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()

    def to_json(self) -> str:
        packed = _pack(self)
        try:
            return orjson.dumps(packed).decode()
        except TypeError:  # an integer of more than 64 bits, half of a surrogate pair
            return _ENCODER.encode(packed)

    def at(self, path: str) -> Parsed:
        """The same content at another path: contents are parsed once, wherever they lie."""
        if {one.path for one in self.documents} | {one.path for one in self.problems} <= {path}:
            return self
        documents = tuple(replace(document, path=path) for document in self.documents)
        return Parsed(documents, tuple(replace(problem, path=path) for problem in self.problems))

    @classmethod
    def from_json(cls, text: str) -> Parsed:
        return _unpack(json.loads(text))


def _packed(document: Document) -> list[Any]:
    one = document
    identity = [one.kind, one.name, one.path, one.ordinal, one.line]
    return [*identity, one.title, one.description, one.labels, one.renamed_from, one.spec]


def _unpacked(fields: Sequence[Any]) -> Document:
    kind, name, path, ordinal, line, title, description, labels, renamed_from, spec = fields
    return Document(
        kind=kind, name=name, path=path, ordinal=ordinal, line=line, title=title, description=description,
        labels=labels, renamed_from=renamed_from, spec=spec,
    )  # fmt: skip


def version_of(catalogue: Catalogue) -> str:
    """What parsing depends on besides the content: the format, and what the catalogue says of specs."""
    providers = {
        name: [
            [[method.name, list(method.fields), list(method.optional)] for method in one.methods],
            [[job_type.name, job_type.authorization, job_type.schema] for job_type in one.job_types],
        ]
        for name, one in catalogue.items()
    }
    return f"{FORMAT}-{digest_of(providers)}"


# --- one file -------------------------------------------------------------------------------------------------------


def parse_file(path_shown: str, content: bytes, catalogue: Catalogue) -> Parsed:
    """Everything that a file says, and everything wrong with it. `path_shown` goes into documents and problems as it
    is. Raises nothing, whatever the bytes."""
    return _parser(catalogue)(path_shown, content)


#: The rules of the last catalogue: a process has one, and compiling its schemas anew for each file would cost more than
#: the file.
_LAST_RULES: list[tuple[Catalogue, Rules]] = []


def _rules(catalogue: Catalogue) -> Rules:
    from reconciler.core.spec_rules import Rules

    if not _LAST_RULES or not _is_same(_LAST_RULES[0][0], catalogue):
        _LAST_RULES[:] = [(catalogue, Rules(catalogue))]
    return _LAST_RULES[0][1]


def _is_same(one: Catalogue, other: Catalogue) -> bool:
    return one.keys() == other.keys() and all(other[name] is provider for name, provider in one.items())


def _parser(catalogue: Catalogue) -> Callable[[str, bytes], Parsed]:
    """What parses a file, its path as it is shown and its content. What that takes is looked for once, not for each file."""
    from reconciler.repo.parse_fast import parse_chunk
    from reconciler.repo.yaml_text import NotText, decode, split

    rules = _rules(catalogue)

    def parse(path: str, content: bytes) -> Parsed:
        try:
            chunks = split(decode(content))
        except NotText as error:
            return Parsed((), (Problem(path, error.line, error.column, "", str(error)),))
        documents: list[Document] = []
        problems: list[Problem] = []
        for chunk in chunks:
            document = parse_chunk(chunk, path, rules)
            if document is None:
                from reconciler.repo import parse_careful

                document, found = parse_careful.parse_chunk(chunk, path, rules)
                problems += found
            if document is not None:
                documents.append(document)
        return Parsed(tuple(documents), tuple(_bounded(problems)))

    return parse


def _bounded(problems: list[Problem]) -> list[Problem]:
    more = len(problems) - MAX_PROBLEMS
    if more <= 0:
        return problems
    last = problems[MAX_PROBLEMS]
    summary = Problem(last.path, last.line, last.column, "", f"and {more:,} more problems from here on")
    return [*problems[:MAX_PROBLEMS], summary]


# --- many files -----------------------------------------------------------------------------------------------------


def parse_many(files: Sequence[tuple[str, bytes]], catalogue: Catalogue, jobs: int | None = None) -> list[Parsed]:
    """The same for each of many files (path shown and content), in their order, by at most `jobs` processes (as many as
    there are cores), where there is enough to do."""
    parse = _parser(catalogue)
    return _divided(files, lambda file: parse(*file), sum(len(content) for _, content in files), jobs or cores())


def read_and_parse(
    paths: Sequence[str], size: int, read: Callable[[str], bytes | Problem], catalogue: Catalogue
) -> list[Parsed]:
    """The same of files that are read by whoever parses them; of those that cannot be read, the problem that `read` gives.
    `size` is that of all of them together."""
    parse = _parser(catalogue)

    def read_one(path: str) -> Parsed:
        content = read(path)
        return Parsed((), (content,)) if isinstance(content, Problem) else parse(path, content)

    return _divided(paths, read_one, size, cores())


def _divided(items: Sequence[T], work: Callable[[T], Parsed], size: int, jobs: int) -> list[Parsed]:
    from reconciler.repo import parse_fast

    enough = size >= PARALLEL_BYTES
    if enough:
        parse_fast.load()  # before forking, so that each process need not
    try:
        with collection_paused():
            return divided(items, work, jobs=jobs if enough else 1, pack=_pack, unpack=_unpack)
    finally:
        parse_fast.forget()


def _pack(parsed: Parsed) -> tuple[list[Any], list[Any]]:
    return [_packed(one) for one in parsed.documents], [list(asdict(one).values()) for one in parsed.problems]


def _unpack(packed: tuple[Sequence[Any], Sequence[Any]]) -> Parsed:
    documents, problems = packed
    return Parsed(tuple([_unpacked(one) for one in documents]), tuple([Problem(*one) for one in problems]))


# --- places of problems found later ---------------------------------------------------------------------------------


def check_across(
    documents: Sequence[Document],
    problems: Iterable[Problem],
    catalogue: Catalogue,
    contents: Callable[[Collection[str]], Mapping[str, bytes]],
    *,
    kept: Sequence[Document] = (),
    needs_data_root: bool = False,
) -> list[Problem]:
    """The problems between documents, each at its field. `problems` are those of the files themselves: what they break
    can still be referred to, and so can what is `kept` though no file declares it just now. `contents` is asked for the
    files that have problems. With `needs_data_root`, a relative path leads nowhere."""
    from reconciler.core.check import check

    broken = {(problem.kind, problem.name) for problem in problems if problem.name and problem.kind in KINDS}
    found = check(documents, catalogue, kept=kept, broken=broken)
    if needs_data_root:
        from reconciler.core.check_paths import relative_paths

        found = sorted([*found, *relative_paths(documents, catalogue)])
    return locate(found, contents({problem.path for problem in found})) if found else []


def locate(problems: Sequence[Problem], contents: Mapping[str, bytes]) -> list[Problem]:
    """The problems that `core.check` found, each at its field instead of at the line on which its document begins, in
    order. `contents` are files by the paths that the problems have; a problem without one, or whose document is no
    longer there, stays as it is."""
    from reconciler.repo.places import Places

    places: dict[str, Places] = {}
    located = []
    for problem in problems:
        if problem.path in contents and problem.path not in places:
            places[problem.path] = Places(contents[problem.path])
        located.append(places[problem.path].of(problem) if problem.path in places else problem)
    return sorted(located)
