"""`reconcile validate`: every problem of every spec, offline; no record is needed and no secret is resolved.

A spec below the root is checked with all the others there, because rules hold across files; only the problems of the
paths that were asked for are shown. A path outside the root is checked by itself: a folder as a root of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from reconciler.cli.options import Call, command, from_here, output_option
from reconciler.cli.problems import problem_json, problem_line
from reconciler.cli.specs import Specs, check_specs, declared_specs
from reconciler.cli.terminal import escape
from reconciler.core.value import dataclass
from reconciler.errors import Problem, SpecInvalid, UsageError

FORMAT_VERSION = 1
INVALID = 1


@dataclass(frozen=True, slots=True)
class Found:
    """What was checked: the files, and the problems, both as seen from the current directory."""

    files: frozenset[str]
    problems: tuple[Problem, ...]

    @property
    def valid(self) -> int:
        return len(self.files - {problem.path for problem in self.problems})


@command(
    "validate",
    click.Argument(["paths"], nargs=-1, type=click.Path(path_type=Path)),
    output_option("text", "json", "github", "gitlab", "junit", "sarif"),
)
def validate(call: Call, paths: tuple[Path, ...], output: str) -> int:
    """Check specs offline; no record is needed.

    Without PATHS: everything below the root. With PATHS (files or folders): those alone are reported, but they are
    checked together with the rest of the root. The exit code is 1 where a spec is invalid.
    """
    found = check_paths(call, paths)
    _WAYS[output](call, found)
    return INVALID if found.problems else 0


def _as_text(call: Call, found: Found) -> None:
    for problem in found.problems:
        call.terminal.print(problem_line(problem))
    call.terminal.print(_summary(found))


def _as_json(call: Call, found: Found) -> None:
    call.terminal.json(
        {
            "formatVersion": FORMAT_VERSION,
            "files": len(found.files),
            "valid": found.valid,
            "errors": [problem_json(problem) for problem in found.problems],
        }
    )


def _for_github(call: Call, found: Found) -> None:
    from reconciler.core.reports import github

    for line in github(found.problems, _in_repository("GITHUB_WORKSPACE")):
        call.terminal.print(escape(line))
    call.terminal.print(_summary(found))


def _for_gitlab(call: Call, found: Found) -> None:
    from reconciler.core.reports import gitlab

    call.terminal.json(gitlab(_placed(found.problems, "CI_PROJECT_DIR")))


def _as_junit(call: Call, found: Found) -> None:
    from reconciler.core.reports import junit

    call.terminal.print(junit(found.files, found.problems))


def _as_sarif(call: Call, found: Found) -> None:
    from reconciler import __version__
    from reconciler.core.reports import sarif

    call.terminal.json(sarif(_placed(found.problems, "GITHUB_WORKSPACE", "CI_PROJECT_DIR"), __version__))


def _placed(problems: Iterable[Problem], *variables: str) -> tuple[Problem, ...]:
    place = _in_repository(*variables)
    return tuple(replace(one, path=place(one.path)) for one in problems)


def _in_repository(*variables: str) -> Callable[[str], str]:
    """By what path a CI system knows a file: from the top of the repository, which one of these variables names, or which a
    `.git` shows; from here where there is neither. What lies outside stays as it is."""
    here = Path.cwd()
    named = [Path(os.path.realpath(os.environ[one])) for one in variables if os.environ.get(one)]
    tops = [*named, *(one for one in (here, *here.parents) if os.path.lexists(one / ".git"))]
    top = next((one for one in tops if here.is_relative_to(one)), here)

    def place(path: str) -> str:
        whole = Path(os.path.normpath(here / path))
        return str(whole.relative_to(top)) if whole.is_relative_to(top) else path

    return place


_WAYS: Final[Mapping[str, Callable[[Call, Found], None]]] = {
    "text": _as_text,
    "json": _as_json,
    "github": _for_github,
    "gitlab": _for_gitlab,
    "junit": _as_junit,
    "sarif": _as_sarif,
}


def _summary(found: Found) -> str:
    count, invalid = len(found.files), len(found.files) - found.valid
    files = f"{count:,} file" if count == 1 else f"{count:,} files"
    if not invalid:
        return f"{files} checked; no problems."
    problems = len(found.problems)
    return f"{files} checked; {invalid:,} invalid, {problems:,} {'problem' if problems == 1 else 'problems'}."


def check_paths(call: Call, paths: Iterable[Path]) -> Found:
    """Checks what was asked for. Raises UsageError for a path that is no spec and no folder."""
    call = call.on_disk()
    if _reads_commit(call):
        return _with_operator_file(call, _check_commit(call, tuple(paths)))
    wanted = [_existing(path) for path in paths]
    if not wanted:
        call.need_root()
        return _with_operator_file(call, _check_root(call.root))
    root = Path(os.path.abspath(call.root))
    inside = [path for path in wanted if Path(os.path.abspath(path)).is_relative_to(root)]
    found = [
        _check(path, None) if path.is_dir() else _check(path.parent, path.name) for path in wanted if path not in inside
    ]
    if inside:
        found.append(_only(_check_root(call.root), inside))
    problems = {problem for one in found for problem in one.problems}
    return Found(frozenset[str]().union(*(one.files for one in found)), tuple(sorted(problems)))


def _check_root(root: Path) -> Found:
    """All below the root, and the policy beside it. One that is wrong is told wherever it is asked about specs: nothing is
    applied by it."""
    from reconciler.repo.policy_file import policy_path

    specs = check_specs(root)
    found = _found(root, specs)
    if specs.policy is None or not specs.policy.digest:
        return found
    shown = from_here(policy_path(root))
    problems = [replace(one, path=shown) for one in specs.policy.problems]
    return Found(found.files | {shown}, tuple(sorted((*found.problems, *problems))))


def _with_operator_file(call: Call, found: Found) -> Found:
    """The operator's file is checked with the whole root."""
    path = call.operator_file
    if call.operator_path is None and not os.path.lexists(path):
        return found
    shown = from_here(path)
    try:
        call.operator()
    except SpecInvalid as error:
        problems = tuple(replace(one, path=shown) for one in error.problems)
    else:
        problems = ()
    return Found(found.files | {shown}, tuple(sorted((*found.problems, *problems))))


def _reads_commit(call: Call) -> bool:
    """Whether the specs are those of a commit. A file of the operator's that is wrong says nothing; its own problems are
    told with the others."""
    try:
        return bool(call.source)
    except SpecInvalid:
        return False


def _check_commit(call: Call, paths: tuple[Path, ...]) -> Found:
    """The specs of the commit that `--source` names; nothing on disk is looked at."""
    specs = declared_specs(call)
    files = frozenset(call.relative(path) for path in specs.files)
    found = Found(files, tuple(sorted(replace(one, path=call.relative(one.path)) for one in specs.problems)))
    for path in paths:
        if not _only(found, [path]).files:
            raise UsageError(f"there is no spec at '{path}' in {specs.revision}, below the root {call.root}")
    return _only(found, paths) if paths else found


def _existing(path: Path) -> Path:
    from reconciler.repo.names import is_spec

    if not path.exists():
        raise UsageError(f"there is no file or folder '{path}'")
    if not path.is_dir() and not is_spec(path.name):
        raise UsageError(f"'{path}' is no spec: a spec is a .yaml or .yml file, and neither hidden nor a status")
    return path


def _check(root: Path, name: str | None) -> Found:
    """A folder, or the one file of that name in it."""
    return _found(root, check_specs(root, None if name is None else {name}))


def _found(root: Path, specs: Specs) -> Found:
    shown = _shown_below(root)
    files = frozenset(map(shown, specs.files))
    return Found(files, tuple(sorted(replace(one, path=shown(one.path)) for one in specs.problems)))


def _shown_below(root: Path) -> Callable[[str], str]:
    """What `from_here` makes of a path below the root; of each folder it is asked once."""
    folders: dict[str, str] = {}

    def shown(path: str) -> str:
        folder, _, name = path.rpartition("/")
        if name in (".", ".."):
            return from_here(root / path)
        if folder not in folders:
            near = from_here(root / folder)
            folders[folder] = "" if near == os.curdir else os.path.join(near, "")
        return folders[folder] + name

    return shown


def _only(found: Found, paths: Iterable[Path]) -> Found:
    """What of the root was asked for."""
    wanted = [from_here(path) for path in paths]

    def is_wanted(file: str) -> bool:
        return any(one == "." or file == one or file.startswith(f"{one}{os.sep}") for one in wanted)

    return Found(
        frozenset(filter(is_wanted, found.files)),
        tuple(problem for problem in found.problems if is_wanted(problem.path)),
    )
