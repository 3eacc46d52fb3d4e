"""From a look at the tree to what is desired: which files count, which documents are gone, which rules are broken.

A document that no file declares any more stays desired until its absence is certain (design, section 3); `held` then
says what it waits for, and its file remains a difference for the next look.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from reconciler.clock import Clock, Now
from reconciler.core.document import Document
from reconciler.core.value import dataclass
from reconciler.errors import Problem
from reconciler.record.desired import Desired
from reconciler.record.store import Record
from reconciler.repo.look import Absence, Gone, Look, Verdict
from reconciler.repo.tree import STANDING_MS

if TYPE_CHECKING:
    from reconciler.controller.hands import Specs
    from reconciler.controller.policing import Policing
    from reconciler.core.provider import Catalogue
    from reconciler.record.resources import ResourceRow
    from reconciler.repo.parse import Parsed

#: The setting of the record that says which commit the desired half of it is (`Look.mark`): written with it, so that the
#: two are never apart.
MARK: Final = "commit"
#: The record's setting that counts the looks that it has taken in.
TAKEN: Final = "looks"

#: Up to so many changed files are compared with what they said before, to spare the look at all the others.
FEW: Final = 10_000
#: Outside the daemon, a tree that leaves something open is looked at so many times at most, so far apart at most.
LOOKS: Final = 10
PATIENCE_MS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a look has brought. `again_ms`: something was left open, look again after so long. `unread` are the files that are
    being written, so that what they say does not count yet. `is_blind`: nothing could be looked at, so all stays as it was."""

    changed: bool
    torn: str | None
    again_ms: int | None
    unread: frozenset[str] = frozenset()
    is_blind: bool = False

    @property
    def unsettled(self) -> str:
        """Why nothing may be deleted yet, though it is known to be absent: more of it may be missing at the next look. Empty
        where the tree stands still."""
        if self.again_ms is None:
            return ""
        return self.torn or "the specs have just changed, and are looked at once more"


class Observer:
    """Looks at the tree and keeps the desired half of the record equal to it."""

    def __init__(
        self,
        record: Record,
        tree: Specs,
        catalogue: Callable[[], Catalogue],
        policing: Policing,
        *,
        needs_data_root: bool = False,
        overlay: bool = False,
    ) -> None:
        self._record = record
        self._policing = policing
        self._desired: Desired = record.desired
        self._tree = tree
        self._catalogue = catalogue
        self._needs_data_root = needs_data_root
        self._overlay = overlay
        self.grace_ms: int | None = None  # how long a tree must have stood still before what it lacks is absent
        self.last = Observation(changed=False, torn=None, again_ms=None)

    def observe(self, now: Now, *, hinted: bool = False) -> Observation:
        """One look, made the desired state as far as it can be believed. `hinted`: what a watch has named is enough; but what
        is held waits for a look at everything."""
        hinted = hinted and not self._desired.held_paths()
        look = self._tree.look(now.alive_ms, self.grace_ms, hinted=hinted)
        contents = {} if look.unseen else self._contents(look)
        problems = list(look.problems)
        again_ms = look.again_ms
        other_policy = self._policing.look(
            now.alive_ms, self._tree.settle_ms if self.grace_ms is None else self.grace_ms
        )
        if contents or other_policy or problems != self._desired.problems_of("reading"):
            if self._take(look, contents):  # once the tree stands still, it is git that something waits for
                again_ms = again_ms or (STANDING_MS if look.settled else self._tree.settle_ms)
        elif look.touched or look.whole or look.mark != self._record.setting(MARK, ""):
            self._note(look)
            self._tree.settle(look)
        again_ms = min((one for one in (again_ms, self._policing.settles_ms) if one is not None), default=None)
        self.last = Observation(
            changed=bool(contents) or other_policy, torn=look.torn, again_ms=again_ms, unread=frozenset(look.held),
            is_blind=look.unseen,
        )  # fmt: skip
        return self.last

    def observe_until_settled(self, clock: Clock) -> Observation:
        """Looks again as long as a moment's patience may settle what a look left open."""
        for _ in range(LOOKS):
            observation = self.observe(clock.now())
            if observation.again_ms is None or observation.again_ms > PATIENCE_MS:
                break
            clock.pause(observation.again_ms / 1000)
        return observation

    def is_in_doubt(self, job: str) -> bool:
        """Whether no file that could be read declares a job, be it wrongly, and the next look may settle what becomes of it:
        until then it starts nothing. What is protected stays whatever that look sees."""
        if self.last.again_ms is None or self.last.is_blind or self._desired.files_of("Job", job) - self.last.unread:
            return False
        known = self._record.resources.resource("Job", job)
        return known is None or known.spec.get("deletionPolicy") != "protect"

    def _contents(self, look: Look) -> dict[str, Parsed | None]:
        """What differs: the parsed files by path, None for those that are not there."""
        contents: dict[str, Parsed | None] = {seen.path: seen.parsed for seen in look.changed}
        vanished = set(look.vanished)
        if look.whole:  # nothing is known of what an earlier index was told
            unread = {problem.path for problem in look.problems} | set(look.held)
            vanished |= self._desired.paths() - look.files.keys() - unread
        waiting = self._desired.held_paths() - contents.keys() - vanished - set(look.held)
        still = self._tree.parsed(look, waiting) if waiting else {}
        return contents | dict.fromkeys(sorted(vanished | waiting), None) | still

    def _take(self, look: Look, contents: Mapping[str, Parsed | None]) -> bool:
        """Makes it the desired state; whether a second look is needed to tell what is absent."""
        if self._overlay:
            self._desired.overlay()
        before = self._desired.documents_of(contents)
        kept = self._kept(look, contents, before)
        alike = not look.whole and not kept and self._refers_alike(contents, before)
        with self._record.transaction():
            self._desired.replace_files([_file(path, parsed, kept) for path, parsed in contents.items()])
            self._desired.replace_problems(look.problems, "reading")
            if contents and not alike:
                self._check_across(contents)
            self._policing.check(contents, tells=not self._overlay)
            self._note(look)
            if not self._overlay:
                self._record.differences.forget_equal()
                self._record.set_setting(TAKEN, int(self._record.setting(TAKEN, 0)) + 1)
        self._tree.settle(look, keep=kept, identity=identity_of(self._record))
        waits = any(verdict.absence is Absence.WAIT for held in kept.values() for _, verdict in held)
        return waits and not look.problems  # a second look mends no file that cannot be read

    def _note(self, look: Look) -> None:
        """Keeps which commit the desired state is now. A preview keeps nothing."""
        if not self._overlay and look.mark != self._record.setting(MARK, ""):
            with self._record.transaction():
                self._record.set_setting(MARK, look.mark)

    def _kept(
        self, look: Look, contents: Mapping[str, Parsed | None], before: Mapping[str, Sequence[Document]]
    ) -> dict[str, list[tuple[Document, Verdict]]]:
        """The documents of each file that nothing declares any more, but whose absence is not certain, and why not. `before`
        is what the files declared."""
        invalid = self._invalid(contents)
        before = {path: [*documents, *invalid.get(path, ())] for path, documents in before.items()}
        mentioned = {name for parsed in contents.values() if parsed for name in _names(parsed)}
        lost = [
            (document, Gone(path, document.kind, document.name))
            for path, documents in before.items()
            for document in documents
            if (document.kind, document.name) not in mentioned
            and not self._desired.declared_elsewhere(document.kind, document.name, contents)
        ]
        broken = {path for path, parsed in contents.items() if parsed and any(map(_is_nameless, parsed.problems))}
        verdicts = self._tree.absent(look, [gone for _, gone in lost if gone.path not in broken])
        verdicts |= {gone: _may_be_there(gone) for _, gone in lost if gone.path in broken}
        kept: dict[str, list[tuple[Document, Verdict]]] = {}
        for document, gone in lost:
            if verdicts[gone].absence is not Absence.ABSENT:
                kept.setdefault(gone.path, []).append((document, verdicts[gone]))
        return kept

    def _invalid(self, paths: Container[str]) -> dict[str, list[Document]]:
        """What these files declared that was invalid, by path: what is known of it, as it was made true. Once its file says
        nothing of it, it is no more certainly gone than what was valid."""
        wrong = [one for one in self._desired.problems_of("file") if one.path in paths and not _is_nameless(one)]
        found: dict[str, list[Document]] = {}
        for path, kind, name, line in sorted({(one.path, one.kind, one.name, one.line) for one in wrong}):
            known = self._record.resources.resource(kind, name)
            listed = found.setdefault(path, [])
            if known is not None and known.life in ("live", "purged") and all(one.name != name for one in listed):
                listed.append(_as_known(known, path, line))
        return found

    def _refers_alike(self, contents: Mapping[str, Parsed | None], before: Mapping[str, Sequence[Document]]) -> bool:
        """Whether these few files have the names and references that they had, and nothing is wrong anywhere: then no
        rule across files is broken either, and the other documents need not be asked."""
        if len(contents) > FEW or self._desired.problems():
            return False
        return all(
            parsed is not None
            and not parsed.problems
            and list(map(_references, parsed.documents)) == list(map(_references, before[path]))
            for path, parsed in contents.items()
        )

    def _check_across(self, contents: Mapping[str, Parsed | None]) -> None:
        """The rules across files, over everything that is desired; `contents` have just become so, and are not read again."""
        from reconciler.repo.parse import check_across  # only where something changed

        kept = [document for document, _ in self._desired.held()]
        names = {(one.kind, one.name, one.path) for one in kept}
        new = [one for parsed in contents.values() if parsed is not None for one in parsed.documents]
        documents = sorted([*new, *self._desired.documents(besides=contents)], key=lambda one: (one.path, one.ordinal))
        documents = [one for one in documents if (one.kind, one.name, one.path) not in names]
        known = self._desired.problems_of("file")
        problems = check_across(
            documents,
            known,
            self._catalogue(),
            self._tree.contents,
            kept=kept,
            needs_data_root=self._needs_data_root,
        )
        self._desired.replace_problems(problems, "across")
        self._desired.mark_invalid()


def identity_of(record: Record) -> str:
    """Names the record as it is by the last look that it has taken in: what an index was told to one before is behind, and
    a file that came back to what it was then would look unchanged."""
    return f"{record.id} {record.setting(TAKEN, 0)}"


def _file(
    path: str, parsed: Parsed | None, kept: Mapping[str, Sequence[tuple[Document, Verdict]]]
) -> tuple[str, Sequence[Document], Sequence[Problem], Sequence[tuple[Document, str]]]:
    """What `Desired.replace_files` takes; nothing of it is parsed where the file is not there."""
    held = [(document, verdict.reason) for document, verdict in kept.get(path, ())]
    return path, () if parsed is None else parsed.documents, () if parsed is None else parsed.problems, held


def _is_nameless(problem: Problem) -> bool:
    return not problem.name


def _as_known(known: ResourceRow, path: str, line: int) -> Document:
    return Document(
        kind=known.kind,  # type: ignore[arg-type]
        name=known.name,
        path=path,
        line=line,
        title=known.title,
        description=known.description,
        labels=known.labels,
        spec=known.spec,
    )


def _may_be_there(gone: Gone) -> Verdict:
    reason = f"{gone.path} cannot be parsed and may still declare it, so it stays as it was"
    return Verdict(Absence.UNKNOWN, reason)


def _references(document: Document) -> tuple[object, ...]:
    """All of a document that the rules across files can speak of. Which fields of `config` name a stream or an audience is
    for the job type to say: here every text may."""
    spec = document.spec
    texts = {name: value for name, value in spec.get("config", {}).items() if isinstance(value, str)}
    named = ("provider", "jobType", "authorization", "dependsOn", "columns", "attributes", "where")
    others = (spec.get("identity"), spec.get("credentials"), spec.get("config", {}).get("fields"))
    fields = [*(spec.get(name) for name in named), *others]
    return document.kind, document.name, document.renamed_from, fields, texts


def _names(parsed: Parsed) -> Iterable[tuple[str, str]]:
    for document in parsed.documents:
        yield document.kind, document.name
    for problem in parsed.problems:
        yield problem.kind, problem.name


def reason_to_hold(problems: Iterable[Problem], is_known: Callable[[str, str], bool]) -> str | None:
    """Why nothing is deleted: a file that cannot be read or parsed may declare anything, and an invalid document whose
    name is new may be a thing that was renamed."""
    for problem in problems:
        if problem.path == ".":  # where the specs come from says so itself
            return problem.message
        if not problem.name:
            return f"{problem.path} cannot be read or parsed"
        if not is_known(problem.kind, problem.name):
            return f"{problem.name}, which is new in {problem.path}, is invalid"
    return None
