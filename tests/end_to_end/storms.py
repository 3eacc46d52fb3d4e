"""What people and programs do to a clone while a daemon reads it: commits, checkouts, rebases, stashes, resets, moves, forced
pushes, branches that go and come, and a whole clone put in the place of another. All of it follows from a seed.

What the branch was at each moment, what HEAD was, and what was ever written is noted, so that it can be said of each effect
afterwards whether anything implied it.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

BRANCHES = ("main", "dev", "old")
FOLDERS = 12
JOB = """\
apiVersion: reconciler/v1
kind: Job
metadata: {{name: {name}, title: "{title}"}}
spec:
  provider: files
  jobType: import-csv
  schedule: {{cron: "0 0 29 2 *"}}
  suspend: {suspend}
  config: {{path: in/{name}.csv, stream: orders}}
"""
STREAM = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: orders}\nspec: {}\n"

_SAID = re.compile(rb"name: (?P<name>[a-z0-9-]+), title.*?suspend: (?P<suspend>true|false)", re.DOTALL)
_IDENTITY = {f"GIT_{who}_{what}": "ann" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
_APART = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}

#: What a tree declares: whether each job is suspended.
State = dict[str, bool]


class Storms:
    """A clone in `folder/clone`, with its root in `jobs`."""

    def __init__(self, folder: Path, seed: int, specs: int) -> None:
        self.folder = folder
        self.clone = folder / "clone"
        self.root = self.clone / "jobs"
        self.settings = folder / "settings.yaml"  # a pass may delete what a commit says, however much
        self.tips: list[str] = []  # all that the branch main was, in order
        self.heads: set[str] = set()  # all that HEAD was
        self.written: set[tuple[str, bool]] = set()  # all that ever stood in a file
        self._random = random.Random(seed)
        self._states: dict[str, State] = {}
        self._blobs: dict[str, tuple[str, bool] | None] = {}
        self._count = specs
        self._said = 0
        self.root.mkdir(parents=True)
        self._begin()

    def _begin(self) -> None:
        self.settings.write_text("prune: {maxDeletes: 100000, maxPercent: 100}\n")
        self.git("init", "-q", "-b", "main")
        self.git("config", "receive.denyCurrentBranch", "ignore")
        self.git("config", "gc.auto", "0")
        (self.root / "stream.yaml").write_text(STREAM)
        for number in range(self._count):
            self._write(f"job-{number:04d}", suspend=False)
        self._commit("all")
        for branch in BRANCHES[1:]:
            self.git("checkout", "-q", "-b", branch)
            self._scramble(self._count // 3)
            self._commit(branch)
        self.git("checkout", "-q", "main")

    # --- git --------------------------------------------------------------------------------------------------------

    def git(self, *arguments: str, clone: Path | None = None, may_fail: bool = False) -> str:
        done = subprocess.run(
            ["git", "-C", str(clone or self.clone), *arguments], env={**os.environ, **_IDENTITY, **_APART},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert may_fail or done.returncode == 0, (arguments, done.stderr)
        self._note()
        return done.stdout.strip()

    def _note(self) -> None:
        """What the branch is now, where that is another."""
        try:
            tip = (self.clone / ".git/refs/heads/main").read_text().strip()
        except OSError:
            return
        if tip and (not self.tips or self.tips[-1] != tip):
            self.tips.append(tip)

    def _commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)

    def note_heads(self) -> None:
        """Learns from git's own log what HEAD has been, and what those commits hold."""
        stashes = self.git("stash", "list", "--format=%H").split()
        self.heads |= {*self.git("reflog", "HEAD", "--format=%H").split(), *stashes}
        for commit in self.heads | set(self.tips):
            self.state(commit)

    def state(self, commit: str) -> State:
        """What a commit declares; nothing where it holds no spec."""
        if commit not in self._states:
            listed = self.git("ls-tree", "-r", commit, "--", "jobs").splitlines()
            blobs = [line.split("\t")[0].split(" ")[2] for line in listed]
            self._read(set(blobs) - self._blobs.keys())
            self._states[commit] = dict(said for blob in blobs if (said := self._blobs[blob]))
        return self._states[commit]

    def _read(self, blobs: Iterable[str]) -> None:
        """All in one call; the specs hold no line that begins like the next answer."""
        asked = sorted(blobs)
        answer = subprocess.run(
            ["git", "-C", str(self.clone), "cat-file", "--batch"], input="".join(f"{one}\n" for one in asked).encode(),
            capture_output=True, check=True,
        ).stdout  # fmt: skip
        texts = re.split(rb"(?m)^[0-9a-f]{40} blob \d+\n", answer)[1:]
        for blob, text in zip(asked, texts, strict=True):
            found = _SAID.search(text)
            self._blobs[blob] = (found["name"].decode(), found["suspend"] == b"true") if found else None

    # --- files ------------------------------------------------------------------------------------------------------

    def _write(self, name: str, *, suspend: bool, folder: int | None = None) -> None:
        self._said += 1
        where = self.root / f"team-{self._random.randrange(FOLDERS) if folder is None else folder:02d}"
        where.mkdir(parents=True, exist_ok=True)
        text = JOB.format(name=name, title=f"said {self._said}", suspend=str(suspend).lower())
        (where / f"{name}.yaml").write_text(text)
        self.written.add((name, suspend))

    def on_disk(self) -> State:
        texts = [
            path.read_bytes() for path in self.root.glob("team-*/*.yaml") if not path.name.endswith(".status.yaml")
        ]
        return {found["name"].decode(): found["suspend"] == b"true" for text in texts if (found := _SAID.search(text))}

    def _scramble(self, count: int) -> None:
        """Some jobs are paused, resumed, edited, moved or taken out; some that are out come back."""
        files = sorted(self.root.glob("team-*/job-*.yaml"))
        for path in self._random.sample(files, min(count, len(files))):
            path.unlink()
            if self._random.random() < 0.75:
                self._write(path.stem, suspend=self._random.random() < 0.4)
        there = {path.stem for path in files}
        for _ in range(count // 4):
            name = f"job-{self._random.randrange(self._count):04d}"
            if name not in there:
                self._write(name, suspend=False)

    def _some(self) -> int:
        return self._random.choice((1, 3, 20, self._count // 5))

    # --- storms -----------------------------------------------------------------------------------------------------

    def storm(self) -> str:
        """One of them; what it was."""
        kinds = (
            self.edit, self.checkout, self.rebase, self.stash, self.reset, self.move, self.away, self.forget_branch,
            self.force_push, self.swap, self.repack, self.empty, self.dirty, self.flip,
        )  # fmt: skip
        kind = self._random.choice(kinds)
        kind()
        return kind.__name__

    def edit(self) -> None:
        self._scramble(self._some())
        self._commit("edit")

    def checkout(self) -> None:
        self.git("checkout", "-q", "-f", self._random.choice(BRANCHES))

    def flip(self) -> None:
        for branch in ("dev", "main", "old", "main"):
            self.git("checkout", "-q", "-f", branch)

    def rebase(self) -> None:
        self.git("checkout", "-q", "-f", "main")
        self._scramble(2)
        self._commit("to be rebased")
        self.git("rebase", "-q", "-X", "theirs", "dev", may_fail=True)
        self._make_sane()

    def stash(self) -> None:
        self._scramble(self._some())
        self.git("add", "-A")
        self.git("stash", "-q", may_fail=True)
        self.heads |= set(self.git("stash", "list", "--format=%H").split())
        self.git("checkout", "-q", "-f", self._random.choice(BRANCHES))
        self.git("stash", "pop", "-q", may_fail=True)
        self._make_sane()

    def reset(self) -> None:
        self.git("reset", "-q", "--hard", f"HEAD~{self._random.choice((0, 1))}", may_fail=True)

    def move(self) -> None:
        """A folder moves, as one does by hand, and the move is committed."""
        folders = sorted(self.root.glob("team-*"))
        if folders:
            source = self._random.choice(folders)
            target = source
            while target.exists():  # a reset may have left one that was moved before
                target = self.root / f"{target.name}x"
            source.rename(target)
            self._commit("move")
            target.rename(source)
            self._commit("move back")

    def away(self) -> None:
        """The root is moved away for a moment."""
        if not self.root.exists():
            return
        self.root.rename(self.folder / "away")
        self.git("status", "--short")
        (self.folder / "away").rename(self.root)

    def forget_branch(self) -> None:
        self.git("checkout", "-q", "-f", "dev")
        self.git("branch", "-q", "-D", "main")
        self.git("branch", "-q", "main", self._random.choice(self.tips[-5:]), may_fail=True)
        if not (self.clone / ".git/refs/heads/main").exists():
            self.git("branch", "-q", "main", "old")
        self.git("checkout", "-q", "-f", "main")

    def force_push(self) -> None:
        """Somebody else rewrites the branch."""
        other = self.folder / "elsewhere"
        self.git("clone", "-q", "-b", self._random.choice(BRANCHES), str(self.clone), str(other), clone=self.folder)
        self.git("commit", "-q", "--amend", "--allow-empty", "-m", f"forced {self._random.random()}", clone=other)
        self.git("push", "-q", "--force", "origin", "HEAD:refs/heads/main", clone=other)
        shutil.rmtree(other)

    def swap(self) -> None:
        """The whole clone is another one now."""
        other = self.folder / "other"
        self.git("clone", "-q", "-b", "main", str(self.clone), str(other), clone=self.folder)
        for branch in BRANCHES[1:]:
            self.git("branch", "-q", "-f", branch, f"origin/{branch}", clone=other)
        self.git("config", "receive.denyCurrentBranch", "ignore", clone=other)
        self.git("config", "gc.auto", "0", clone=other)
        self.note_heads()
        self.clone.rename(self.folder / "aside")
        other.rename(self.clone)
        self._note()
        shutil.rmtree(self.folder / "aside")
        self._scramble(5)
        self._commit("after the swap")

    def repack(self) -> None:
        self.note_heads()
        self.git("gc", "-q", "--prune=now")
        self.git("reset", "-q", "--hard")
        self.git("commit", "-q", "--allow-empty", "-m", "unpacks the ref")

    def empty(self) -> None:
        """Everything is taken out, and the mistake is taken back."""
        self.git("checkout", "-q", "-f", "main")
        self.git("rm", "-q", "-r", "-f", "jobs", may_fail=True)
        self.git("commit", "-q", "--allow-empty", "-m", "oops")
        self.git("reset", "-q", "--hard", "HEAD~1")

    def dirty(self) -> None:
        """Edits that nobody commits, and specs that nobody adds."""
        self._scramble(self._some())
        self._write(f"ghost-{self._random.randrange(1_000)}", suspend=False)
        self.git("checkout", "-q", "--", "jobs", may_fail=True)
        self.git("clean", "-q", "-f", "-d", "-e", ".reconciler")

    def _make_sane(self) -> None:
        # Once in some hundred times a stash that git gives up on leaves its lock, and no process that holds it.
        (self.clone / ".git/index.lock").unlink(missing_ok=True)
        for command in ("rebase", "merge", "cherry-pick"):
            self.git(command, "--abort", may_fail=True)
        self.git("reset", "-q", "--hard")

    def _declare_each_once(self) -> None:
        """A merge may leave a job that both sides have moved in two places: an error, for which deletions are held back."""
        seen: set[str] = set()
        for path in sorted(self.root.glob("team-*/job-*.yaml")):
            if path.stem in seen:
                path.unlink()
            seen.add(path.stem)

    def end(self) -> None:
        """The last commit, which declares `the-end`."""
        self._make_sane()
        self.git("checkout", "-q", "-f", "main")
        self.git("clean", "-q", "-f", "-d", "-e", ".reconciler")
        self._scramble(3)
        self._declare_each_once()
        self.root.mkdir(exist_ok=True)  # the last storm may have left an empty tree
        (self.root / "stream.yaml").write_text(STREAM)
        if not any(self.root.glob("team-*/job-*.yaml")):  # to delete every job there is takes an approval
            for number in range(self._count // 10 + 1):
                self._write(f"job-{number:04d}", suspend=False)
        self._write("the-end", suspend=False)
        self._commit("the end")
        self.note_heads()
