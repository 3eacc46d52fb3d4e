"""Who edits the specs: what is declared, how it gets into files or commits, and what was in force when.

A change of the tree takes a moment: files are cut off, taken away and written one by one, and whoever looks meanwhile must not
take that for a wish. What is in force is what the last whole tree says; of a document that is invalid, what it said before.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.record.store import Record
from tests.simulation.schedules import draw_schedule

if TYPE_CHECKING:
    from tests.simulation.world import World

#: The stream that no job writes to: its messages come over HTTP.
LIVE: Final = "live-0"
#: The stream of what an API lists.
FEED: Final = "feed-0"
#: The stream of what a lookup says of people.
FACTS: Final = "facts-0"
#: The longest that a tree is in the making, in milliseconds: less than the daemon's patience, or a pass's.
MAKING_MS: Final = {"daemon": 4_000, "passes": 300, "git": 4_000}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One job as people want it. `flaw` is what makes its document invalid: it stays as it was, then."""

    name: str
    file: str
    imports: bool
    schedule: str
    title: str = ""
    suspend: bool = False
    rerun: str = ""
    retry: str = "{initial: 30s, max: 10m}"
    more: str = ""  # of the spec
    batch: int = 3
    reads: str = ""
    feed: str = ""  # the config of an import from an API
    looks_up: str = ""  # the config of an enrichment
    mirrors: str = ""  # an audience, of which it sends the members
    work: str = ""  # provider, job type and config, of a job of a part
    after: tuple[str, ...] = ()  # what it depends on, beside what it reads
    is_steady: bool = False  # its schedule always has it run again
    first_name: str = ""  # of one that was renamed
    was: str = ""  # its name before
    flaw: str = ""
    is_orphaned: bool = False  # its cursor is kept for one that is declared again

    @property
    def follows(self) -> bool:
        """Whether what it reads is brought by a job."""
        return bool(self.reads) and self.reads != LIVE

    @property
    def ident(self) -> str:
        """Stays the same however often it is renamed."""
        return self.first_name or self.name

    @property
    def needs(self) -> tuple[str, ...]:
        """The jobs that it depends on."""
        return (*([self.reads] if self.follows else []), *self.after)

    @property
    def is_gated(self) -> bool:
        """Whether it asks before it adds much."""
        return "maxMessages" in self.more

    @property
    def url(self) -> str:
        return f"http://receiver.test/{self.ident}"

    def text(self, inbox: Path, guard: str = "", wish: str = "", authorization: str = "") -> str:
        after = f"dependsOn: [{', '.join(self.needs)}], " if self.needs else ""
        if self.work:
            work = f"{after}{self.work}"
        elif self.feed:
            work = f"provider: http, jobType: import-json, config: {self.feed}"
        elif self.looks_up:
            work = f"provider: http, jobType: enrich-lookup, {after}config: {self.looks_up}"
        elif self.imports:
            config = f'{{path: "{inbox / self.name}/*.csv", stream: {self.name}}}'
            work = f"provider: files, jobType: import-csv, config: {config}"
        elif self.mirrors:
            fields = "{email: {from: email}, score: {from: score}, visits: {from: visits}}"
            more = f"errors: {{path: errors}}, guard: {guard}, fields: {fields}"
            config = f'{{audience: {self.mirrors}, {wish}url: "{self.url}", batchSize: {self.batch}, {more}}}'
            work = f"provider: http, jobType: export-audience, {authorization}{after}config: {config}"
        else:
            config = f'{{stream: {self.reads}, url: "{self.url}", batchSize: {self.batch}}}'
            work = f"provider: http, jobType: export-webhook, {authorization}{after}config: {config}"
        orphan = ", deletionPolicy: orphan" if self.is_orphaned else ""
        renamed = f", renamedFrom: {self.was}" if self.was else ""
        return (
            "apiVersion: reconciler/v1\nkind: Job\n"
            f'metadata: {{name: {self.name}, title: "{self.title}"{renamed}}}\n'
            f"spec: {{{work}, schedule: {self.schedule}, suspend: {str(self.suspend).lower()}, "
            f'rerun: "{self.rerun}", retry: {self.retry}{orphan}{self.more}{self.flaw}}}\n'
        )


State = Mapping[str, Wanted]


@dataclass(frozen=True)
class Version:
    """What was in force from a moment on. `files` are all texts by path; `flawed` are the jobs of
    which the documents are invalid: what was true of them when somebody last looked stays true."""

    since_ms: int
    jobs: State
    files: Mapping[str, str]
    flawed: frozenset[str]
    commit: str = ""

    @property
    def is_flawed(self) -> bool:
        return bool(self.flawed)


STREAM: Final = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {{name: {name}}}\nspec: {{}}\n"
FLAWS: Final = (", shedule: {once: true}", ", timeout: soon", ", dependsOn: [nobody-at-all]", ", labels: [")


@dataclass
class People:
    """Edit what is wanted, and bring it into the tree."""

    world: World
    dice: random.Random
    root: Path
    wanted: dict[str, Wanted] = field(default_factory=dict)
    versions: list[Version] = field(default_factory=list)
    is_making: bool = False
    whole_ms: int = 0  # since when the tree is whole
    _commits: int = 0
    _head: str = ""

    def declare(self, jobs: Sequence[Wanted]) -> None:
        """The first tree."""
        self.wanted = {job.name: job for job in jobs}
        self.make_true(at_once=True)

    # --- what they change their minds about

    def edit(self) -> str:
        """One or two changes at random."""
        if self.is_making:
            return "nothing: the tree is in the making"
        said = [self._edit_one() for _ in range(self.dice.choice([1, 1, 2]))]
        self.make_true()
        return ", ".join(said)

    def _edit_one(self) -> str:
        dice = self.dice
        lost = self.world.all_jobs.keys() - self.wanted.keys()
        gone = sorted(name for name in lost if self._is_remembered(self.world.all_jobs[name]))
        if gone and dice.random() < 0.3:
            name = dice.choice(gone)
            self.wanted[name] = replace(self.world.all_jobs[name], file=self._file())
            return f"declare {name}"
        if not self.wanted:
            return "nothing"
        job = self.wanted[dice.choice(sorted(self.wanted))]
        kind = dice.choice(
            ("suspend", "suspend", "rerun", "title", "schedule", "move", "remove", "flaw", "mend", "batch")
        )
        if job.flaw and kind != "remove":
            kind = "mend"
        match kind:
            case "suspend":
                job = replace(job, suspend=not job.suspend)
            case "rerun":
                job = replace(job, rerun=str(dice.randrange(10**6)))
            case "title":
                job = replace(job, title=f"Title {dice.randrange(10**6)}")
            case "schedule":
                schedule = draw_schedule(
                    self.world, is_import=job.imports, is_alone=job.reads == LIVE, is_steady=job.is_steady
                )
                job = replace(job, schedule=schedule)
            case "batch":
                job = replace(job, batch=dice.randint(1, 6))
            case "move":
                job = replace(job, file=self._file())
            case "flaw":
                job = replace(job, flaw=dice.choice(FLAWS))
            case "mend":
                job = replace(job, flaw="")
            case _:
                del self.wanted[job.name]
                return f"remove {job.name}"
        self.wanted[job.name] = job
        return f"{kind} {job.name}"

    def _is_remembered(self, job: Wanted) -> bool:
        """Whether it goes on where it was when it is declared again: by a name that it has got since, once that was seen."""
        if not job.was:
            return job.is_orphaned
        with Record.reading(self.world.state) as record:
            return job.is_orphaned and job.name in {one.name for one in record.deletions.deletions()}

    def _file(self) -> str:
        return f"team-{self.dice.randrange(2)}/file-{self.dice.randrange(4)}.yaml"

    def settle_down(self) -> None:
        """The last tree: all is valid, and whatever is not suspended runs once more."""
        for name, job in list(self.wanted.items()):
            self.wanted[name] = replace(job, flaw="", rerun="at the end")
        self.make_true(at_once=True)

    # --- how it gets into the tree

    def texts(self) -> dict[str, str]:
        found: dict[str, str] = {}
        mirrors = self.world.mirrors
        authorization = "" if self.world.tokens is None else "authorization: gate, "
        for job in sorted(self.wanted.values(), key=lambda one: one.name):
            text = job.text(self.world.inbox, mirrors.guard, mirrors.wish, authorization)
            found[job.file] = f"{found[job.file]}---\n{text}" if job.file in found else text
        declared = {LIVE, FACTS, *(name for part in self.world.parts for name in part.streams)}
        names = sorted(set(self.world.all_streams) - declared)
        streams = [mirrors.stream_spec(name) or STREAM.format(name=name) for name in names]
        found["streams.yaml"] = "---\n".join(streams)
        if self.world.lookups.there:
            found["facts.yaml"] = self.world.lookups.spec
        if self.world.intake.there:
            found["intake.yaml"] = self.world.intake.specs()
        if mirrors.there:
            found["audiences.yaml"] = mirrors.specs()
        for part in self.world.parts:
            found |= part.files()
        return found

    def make_true(self, *, at_once: bool = False) -> None:
        if self.world.mode == "git":
            self._commit(at_once=at_once)
        else:
            self._write(at_once=at_once)

    def _write(self, *, at_once: bool) -> None:
        texts = self.texts()
        steps = self._steps(texts, at_once=at_once)
        if self.world.is_tracked:
            steps = self._committed(texts, steps)
        self._comes(texts)
        if at_once:
            for step in steps:
                step()
            self._is_whole()
            return
        self.is_making = True
        times = sorted(self.dice.randint(0, MAKING_MS[self.world.mode]) for _ in steps)
        for at_ms, step in zip(times, steps, strict=True):
            self.world.timeline.after(at_ms, step)
        self.world.timeline.after(times[-1] if times else 0, self._is_whole)

    def _steps(self, texts: Mapping[str, str], *, at_once: bool) -> list[Callable[[], None]]:
        before = self.versions[-1].files if self.versions else {}
        changed = [path for path in sorted(texts) if texts[path] != before.get(path)]
        gone = sorted(before.keys() - texts.keys())
        self.dice.shuffle(changed)
        steps: list[Callable[[], None]] = []
        away_first = self.dice.random() < 0.4
        removals: list[Callable[[], None]] = [partial(self._unlink, path) for path in gone]
        for path in changed:
            way = "replace" if at_once else self.dice.choice(("replace", "cut", "again", "unlink"))
            if way == "cut":
                cut = self.dice.randint(1, len(texts[path]) - 1)
                steps.append(partial(self._put, path, texts[path][:cut]))
            elif way == "unlink":
                steps.append(partial(self._unlink, path))
            elif way == "again":
                steps.append(partial(self._put, path, "\n"))
            steps.append(partial(self._put, path, texts[path]))
        steps = [*removals, *steps] if away_first else [*steps, *removals]
        if not at_once and self.dice.random() < 0.1:
            steps = [self._away, self._back, *steps]
        return steps

    def _committed(self, texts: Mapping[str, str], steps: list[Callable[[], None]]) -> list[Callable[[], None]]:
        """With the commit that says so too: before the files, after them or between; half of the time git is at work."""
        steps = [*steps]
        first = 2 if steps[:1] == [self._away] else 0
        steps.insert(self.dice.randint(first, len(steps)), partial(self._commit_files, texts))
        if self.dice.random() < 0.5:
            lock = self.root / ".git/index.lock"
            steps.insert(first, lock.touch)
            steps.append(partial(lock.unlink, missing_ok=True))
        return steps

    def _commit_files(self, texts: Mapping[str, str]) -> None:
        self._commits += 1
        self._head = write_commit(self.root / ".git", texts, self._head, self._commits)
        self._point(f"{self._head}\n")

    def _put(self, path: str, text: str) -> None:
        whole = self.root / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        beside = self.world.folder / "beside"
        beside.write_text(text)
        self._stamp(beside)
        os.replace(beside, whole)
        self._tell(path)

    def _stamp(self, path: Path) -> None:
        """No two contents have one time, however fast the world goes."""
        at_ns = 1_600_000_000_000_000_000 + self.world.next_stamp() * 1_000_001
        os.utime(path, ns=(at_ns, at_ns))

    def _unlink(self, path: str) -> None:
        (self.root / path).unlink(missing_ok=True)
        self._tell(path)

    def _away(self) -> None:
        self.root.rename(self.world.folder / "away")
        self._lose_sight()

    def _back(self) -> None:
        if self.root.exists():  # somebody has made a folder in its place
            shutil.copytree(self.root, self.world.folder / "away", dirs_exist_ok=True)
            shutil.rmtree(self.root)
        (self.world.folder / "away").rename(self.root)
        self._lose_sight()

    def _lose_sight(self) -> None:
        """The watch is of a folder that is not the root any more; it looks for another one."""
        watch = self.world.watch
        if watch is not None:
            watch.fall()
            self.world.timeline.after(self.dice.randint(1, 900), watch.stand)

    def _tell(self, path: str = "") -> None:
        """The watch says so after a moment, if it says so at all."""
        if not self.world.weather.strikes("late word"):
            self.world.timeline.after(self.dice.randint(1, 60), partial(self.world.tell_of_change, path))

    def _comes(self, texts: Mapping[str, str], commit: str = "") -> None:
        """What is in force from now on: each file says what it said, nothing, or this."""
        before = self.versions[-1].jobs if self.versions else {}
        broken = {job.file for job in self.wanted.values() if job.flaw.endswith("[")}
        jobs: dict[str, Wanted] = {}
        for name, job in self.wanted.items():
            is_valid = not job.flaw and job.file not in broken and all(one in self.wanted for one in job.needs)
            if is_valid:
                jobs[name] = job
            elif name in before:
                jobs[name] = before[name]
        flawed = frozenset(name for name, job in self.wanted.items() if jobs.get(name) is not job)
        self.versions.append(Version(self.world.timeline.true_ms, jobs, texts, flawed, commit))

    def _is_whole(self) -> None:
        self.is_making = False
        self.whole_ms = self.world.timeline.true_ms
        self._tell()

    # --- commits

    def _commit(self, *, at_once: bool) -> None:
        texts = self.texts()
        self._commits += 1
        commit = write_commit(
            self.root / ".git", texts, self.versions[-1].commit if self.versions else "", self._commits
        )
        if at_once:
            self._move_branch(commit, texts)
            return
        self.is_making = True
        at_ms = 0
        if self.dice.random() < 0.4:  # the ref is away, or half written, for a moment
            at_ms = self.dice.randint(1, MAKING_MS["git"])
            half = self.dice.choice(["", commit[:20], "ref: refs/heads/nowhere\n"])
            self._point(half)
        self.world.timeline.after(at_ms, lambda: self._move_branch(commit, texts))

    def _move_branch(self, commit: str, texts: Mapping[str, str]) -> None:
        self._point(f"{commit}\n")
        self._comes(texts, commit)
        self._is_whole()

    def _point(self, text: str) -> None:
        ref = self.root / ".git/refs/heads/main"
        if text:
            ref.write_text(text)
        else:
            ref.unlink(missing_ok=True)
        self._tell()


# --- git's objects, as git writes them -----------------------------------------------------------------------------------


def make_repository(folder: Path) -> None:
    for name in ("objects", "refs/heads"):
        (folder / name).mkdir(parents=True)
    (folder / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = false\n")


def _object(folder: Path, kind: str, content: bytes) -> bytes:
    data = f"{kind} {len(content)}\0".encode() + content
    name = hashlib.sha1(data).hexdigest()
    path = folder / "objects" / name[:2] / name[2:]
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(zlib.compress(data, 1))
    return bytes.fromhex(name)


def write_commit(folder: Path, texts: Mapping[str, str], parent: str, number: int) -> str:
    """The hash of a commit that holds exactly these files."""
    folders: dict[str, list[tuple[str, str, bytes]]] = {"": []}
    for path, text in sorted(texts.items()):
        where, _, name = path.rpartition("/")
        folders.setdefault(where, []).append(("100644", name, _object(folder, "blob", text.encode())))
    for where in sorted(folders.keys() - {""}):
        folders[""].append(("40000", where, _tree(folder, folders[where])))
    tree = _tree(folder, folders[""]).hex()
    who = f"Ann <ann@example.org> {1_700_000_000 + number} +0000"
    parents = f"parent {parent}\n" if parent else ""
    text = f"tree {tree}\n{parents}author {who}\ncommitter {who}\n\nchange {number}\n"
    return _object(folder, "commit", text.encode()).hex()


def _tree(folder: Path, entries: Sequence[tuple[str, str, bytes]]) -> bytes:
    ordered = sorted(entries, key=lambda one: one[1] + ("/" if one[0] == "40000" else ""))
    return _object(folder, "tree", b"".join(f"{mode} {name}\0".encode() + digest for mode, name, digest in ordered))
