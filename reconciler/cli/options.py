"""What every command takes, before its name or after it: `--root`, `--state`, `--settings`, `--no-color`, `-v`.

A common option is not a parameter of the functions: it is noted in a dictionary that the group and its subcommand
share (click's `obj`), and the one nearer to the end of the line wins. `Call` is what comes out of it. What no option says
the operator's file may say (`reconciler.yaml` beside the root), and what neither says has a default.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.terminal import Terminal
from reconciler.core.operator import FILE_NAME, Operator, operator_of
from reconciler.core.value import dataclass
from reconciler.errors import ReconcileError, SpecInvalid, UsageError

if TYPE_CHECKING:
    from reconciler.controller.settings import Followed, Settings

ROOT_VARIABLE: Final = "RECONCILE_ROOT"
DEFAULT_ROOT: Final = "jobs.d"
STATE_NAME: Final = ".reconciler"
STATUS_NAME: Final = "status"
DEFAULT_SLOTS: Final = 8
DEFAULT_BACKFILL_SLOTS: Final = 1
DEFAULT_MEMORY_MB: Final = 1024

#: The options by which another command finds the same folders and settings, as they are noted.
_OPTIONS: Final = {
    "root": "--root",
    "state": "--state",
    "settings": "--settings",
    "source": "--source",
    "repo": "--repo",
    "branch": "--branch",
    "path": "--path",
    "data_root": "--data-root",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How the command was called. What was not said is None or empty; `operator` is asked then, and then the defaults.
    `again` are the options by which another command finds the same folders and settings, each after a space. `read` holds
    what the operator's file said, so that one command reads it once."""

    root: Path
    state: Path
    terminal: Terminal
    verbose: bool = False
    status_dir: Path | None = None
    slots: int | None = None
    backfill_slots: int | None = None
    memory_mb: int | None = None
    allow_paths: tuple[Path, ...] = ()
    allow_exec: bool = False
    operator_path: Path | None = None
    source_said: str = ""
    data_root_said: Path | None = None
    again: str = ""
    repo_said: str = ""
    branch_said: str = ""
    path_said: str = ""
    interval_said: str = ""
    beside: Path | None = None
    here: bool = False
    read: dict[Path, Operator | SpecInvalid] = field(default_factory=dict, compare=False, repr=False)

    @property
    def operator_file(self) -> Path:
        """The operator's file: the one named, else the one beside the root, which need not be there. `beside` is where the
        root was looked for on disk, where it is that of a clone."""
        return self.operator_path or Path(os.path.abspath(self.beside or self.root)).parent / FILE_NAME

    def operator(self) -> Operator:
        """What the operator's file says. Raises SpecInvalid, and UsageError where a file was named that is not there."""
        path = self.operator_file
        if path not in self.read:
            try:
                self.read[path] = self._read_operator(path)
            except SpecInvalid as error:
                self.read[path] = error
        said = self.read[path]
        if isinstance(said, SpecInvalid):
            raise said
        return said

    def _read_operator(self, path: Path) -> Operator:
        if not os.path.lexists(path):
            if self.operator_path is not None:
                raise UsageError(f"there is no file '{path}' (--settings)")
            return Operator()
        from reconciler.repo.operator_file import read_operator_file

        shown = os.path.relpath(path, self.root)
        near = path.parent / STATE_NAME / "cache"
        cache = self.state / "cache"
        return operator_of(read_operator_file(path, shown, cache if cache.is_dir() else near))

    def allows_exec(self) -> bool:
        return self.allow_exec or self.operator().allow_exec

    @property
    def source(self) -> str:
        """`git:REF` where the specs are read from a commit; empty where they are the files below the root."""
        followed = self.followed
        if followed is not None:
            return f"git:{followed.branch or 'HEAD'}"
        return self.source_said or self.operator().source

    @property
    def followed(self) -> Followed | None:
        """The repository that is cloned, where one is. Raises UsageError."""
        if self.here:
            return None
        said = self.operator().repo
        options = {"--branch": self.branch_said, "--path": self.path_said, "--interval": self.interval_said}
        if self.repo_said and self.source_said:
            raise UsageError("--source and --repo exclude each other")
        if self.source_said or not (self.repo_said or said):
            _refuse_alone(options, "--repo")
            return None
        from reconciler.cli.repo import followed_of  # only where one is

        return followed_of(self.repo_said, options, said or {}, self.operator_file.parent)

    @property
    def data_root(self) -> Path | None:
        """Where relative paths in the specs of a commit start from."""
        said = self.operator().data_root
        return self.data_root_said or (_folder(self.operator_file.parent / said, "dataRoot") if said else None)

    def settings(self, *, record: bool = True) -> Settings:
        """For the controller. Raises UsageError where the root is no folder (as far as a `record` is needed, see
        `need_root`), and SpecInvalid as `operator` does."""
        from reconciler.controller.settings import Settings

        if record:
            self.need_root()
        said, source = self.operator(), self.source
        folder = self.operator_file.parent
        if said.verify_keys and not source:
            raise UsageError(
                "verify: only commits are signed; name one with --source git:REF, or a repository with --repo"
            )
        status_dir = self.status_dir or (folder / said.status_dir if said.status_dir else None)
        return Settings(
            root=self.root,
            state=self.state,
            status_dir=status_dir or (self.state / STATUS_NAME if source else None),
            slots=self.slots or said.slots or DEFAULT_SLOTS,
            backfill_slots=self.backfill_slots or said.backfill_slots or DEFAULT_BACKFILL_SLOTS,
            memory_mb=self.memory_mb or said.memory_mb or DEFAULT_MEMORY_MB,
            allow_paths=(*self.allow_paths, *(_folder(folder / path, "allowPaths") for path in said.allow_paths)),
            allow_exec=self.allow_exec or said.allow_exec,
            listen=said.listen,
            folder=folder,
            push_secret=said.push_secret,
            source=source,
            data_root=self.data_root if source else None,
            budget=said.budget,
            notify=said.notify,
            commit_statuses=said.commit_statuses,
            followed=self.followed,
            verify_keys=said.verify_keys,
            again=self.again,
        )

    def need_root(self) -> None:
        """Raises UsageError, with what to do next, where the root is no folder. That of a commit need not be on disk, but
        then the record needs a place of its own."""
        if self.beside is not None:
            return
        if (refused := _unreadable(self.root)) and not self.source:
            raise UsageError(
                f"the root folder '{self.root}' cannot be read: {refused} (seen from {Path.cwd()}); nothing is done"
            )
        if os.path.isdir(self.root):
            return
        if self.source:
            if self.state == self.root / STATE_NAME:
                raise UsageError(
                    f"the root folder '{self.root}' is not on disk (seen from {Path.cwd()}); "
                    "name a folder for the record with --state DIR"
                )
            return
        what = "is not a folder" if os.path.lexists(self.root) else "does not exist"
        raise UsageError(
            f"the root folder '{self.root}' {what} (seen from {Path.cwd()}); "
            f"create it, or name the folder of your specs with --root DIR or {ROOT_VARIABLE}"
            + (", or the repository that reconciler.yaml follows with --repo URL" if self.here else "")
        )

    def on_disk(self) -> Call:
        """The same for a command that is about the files here, whatever repository the operator's file follows; what an
        option names still counts."""
        return (
            self if self.repo_said or self.beside is None else replace(self, root=self.beside, beside=None, here=True)
        )

    @property
    def watched(self) -> str:
        """What a daemon follows, in words."""
        followed = self.followed
        if followed is not None:
            return f"{self.root} in {followed.branch or 'the default branch'} of {followed.address.url}"
        return f"{self.source}, {self.root}" if self.source else str(self.root)

    def relative(self, path: str) -> str:
        """A path that is relative to the root, as seen from the current directory."""
        return from_here(self.root / path)


def _unreadable(folder: Path) -> str:
    """Why a folder cannot be looked into although it may be there; empty where it can, is not there, or is no folder."""
    try:
        os.stat(folder)
    except PermissionError as error:
        return str(error.strerror)
    except OSError:
        return ""
    is_closed = os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK)
    return os.strerror(errno.EACCES) if is_closed else ""


def _refuse_alone(options: Mapping[str, str], needed: str) -> None:
    """Raises UsageError where there is one of the options without what it goes with."""
    for name, value in options.items():
        if value:
            raise UsageError(f"{name} goes with {needed}")


def _folder(path: Path, field: str) -> Path:
    if not path.is_dir():
        raise UsageError(f"{field} of the settings file names '{path}', which is not a folder")
    return path


def from_here(path: Path) -> str:
    """A path relative to the current directory; an absolute one that lies elsewhere stays as it is."""
    near = os.path.relpath(path)
    outside = near == os.pardir or near.startswith(os.pardir + os.sep)
    return os.path.abspath(path) if outside and path.is_absolute() else near


def _note(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value not in (None, False, ()):
        context.ensure_object(dict)[parameter.name] = value


def _common(*names: str, **attributes: Any) -> click.Option:
    return click.Option(names, expose_value=False, callback=_note, **attributes)


def common_options() -> list[click.Option]:
    """The options of every command, made anew for each."""
    return [
        _common(
            "--root",
            metavar="DIR",
            type=click.Path(path_type=Path),
            help=f"Folder of the specs.  [env: {ROOT_VARIABLE}; default: {DEFAULT_ROOT}]",
        ),
        _common(
            "--state",
            metavar="DIR",
            type=click.Path(path_type=Path),
            help=f"Folder of the record and the data.  [default: ROOT/{STATE_NAME}; with --repo: {STATE_NAME}]",
        ),
        _common(
            "--source",
            metavar="git:REF",
            help="Read the specs from a commit, not from files: of a branch, a tag, a remote branch, or a whole hash.",
        ),
        _common("--repo", metavar="URL", help="Read the specs from a clone of this repository."),
        _common("--branch", metavar="NAME", help="With --repo: the branch.  [default: the remote's default one]"),
        _common(
            "--path", metavar="DIR", help=f"With --repo: the folder of the specs in it.  [default: {DEFAULT_ROOT}]"
        ),
        _common(
            "--data-root",
            metavar="DIR",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            help="With --source or --repo: where relative paths in specs start from.",
        ),
        _common(
            "--settings",
            metavar="FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            help=f"The operator's settings.  [default: {FILE_NAME} beside ROOT, if there]",
        ),
        _common("--no-color", is_flag=True, help="No colours; so does NO_COLOR."),
        _common("-v", "--verbose", is_flag=True, help="Leave nothing out of lists; show the traceback of a bug."),
    ]


def interval_option(*, hidden: bool = False) -> click.Option:
    """Shown where it means something; taken everywhere, so that the options of a daemon can be given to any command."""
    text = "With --repo: how often the daemon fetches.  [default: 60s]"
    return _common("--interval", metavar="TIME", hidden=hidden, help=text)


def allow_exec_option() -> click.Option:
    return _common("--allow-exec", is_flag=True, help="Let {exec: [...]} secret references run their command.")


def pass_options() -> list[click.Option]:
    """The options of `reconcile` itself that say how a pass is made."""
    return [
        _common(
            "--slots", metavar="N", type=click.IntRange(1, 512), help=f"Runs at a time.  [default: {DEFAULT_SLOTS}]"
        ),
        _common(
            "--memory",
            metavar="MB",
            type=click.IntRange(64, 1 << 20),
            help=f"What a build of profiles, or a run that reads them, may hold.  [default: {DEFAULT_MEMORY_MB}]",
        ),
        _common(
            "--backfill-slots",
            metavar="N",
            type=click.IntRange(1, 512),
            help=f"Runs of backfills at a time, besides.  [default: {DEFAULT_BACKFILL_SLOTS}]",
        ),
        _common(
            "--status-dir",
            metavar="DIR",
            type=click.Path(path_type=Path),
            help="Write statuses and logs here, not beside the specs.",
        ),
        _common(
            "--allow-path",
            metavar="DIR",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            multiple=True,
            help="A folder outside the root that a spec's path may lead into; may be repeated.",
        ),
        interval_option(),
        allow_exec_option(),
    ]


class Command(click.Command):
    """A command that takes the common options, and hands its function a `Call` first."""

    def __init__(self, name: str, function: Callable[..., int | None], params: list[click.Parameter]) -> None:
        all_params = [*params, *common_options()]
        if not any(param.name == "interval" for param in all_params):
            all_params.append(interval_option(hidden=True))
        super().__init__(name, callback=_with_call(function), params=all_params, help=function.__doc__)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS]", *(piece for param in self.get_params(ctx) for piece in param.get_usage_pieces(ctx))]


def command(name: str, *params: click.Parameter) -> Callable[[Callable[..., int | None]], Command]:
    """Makes a command of a function that takes a `Call` and its parameters, and returns its exit code (0 for None)."""
    return lambda function: Command(name, function, list(params))


def _with_call(function: Callable[..., int | None]) -> Callable[..., int]:
    def run(**values: Any) -> int:
        call = call_of(click.get_current_context().ensure_object(dict))
        if call.repo_said or call.branch_said or call.path_said or call.interval_said:
            _ = call.followed  # what makes no sense is refused by every command
        return function(call, **values) or 0

    return run


def call_of(noted: dict[str, Any]) -> Call:
    """The `Call` of the common options that were noted; its terminal is the same whenever it is asked for."""
    if "terminal" not in noted:
        noted["terminal"] = Terminal.of(sys.stdout, sys.stderr, no_color=noted.get("no_color", False))
    root = noted.get("root") or Path(os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT)
    call = _call(noted, root)
    try:
        followed = call.followed
    except ReconcileError:  # the command says so itself, if it needs to know
        followed = None
    if followed is None:
        return call
    state = noted.get("state") or call.operator_file.parent / STATE_NAME
    return replace(call, root=Path(followed.prefix or "."), state=state, beside=root)


def _call(noted: dict[str, Any], root: Path) -> Call:
    return Call(
        root=root,
        state=noted.get("state") or root / STATE_NAME,
        terminal=noted["terminal"],
        verbose=noted.get("verbose", False),
        status_dir=noted.get("status_dir"),
        slots=noted.get("slots"),
        backfill_slots=noted.get("backfill_slots"),
        memory_mb=noted.get("memory"),
        allow_paths=tuple(noted.get("allow_path", ())),
        allow_exec=noted.get("allow_exec", False),
        operator_path=noted.get("settings"),
        source_said=noted.get("source", ""),
        data_root_said=noted.get("data_root"),
        again="".join(f" {_OPTIONS[name]} {shlex.quote(str(noted[name]))}" for name in _OPTIONS if noted.get(name)),
        repo_said=noted.get("repo", ""),
        branch_said=noted.get("branch", ""),
        path_said=noted.get("path", ""),
        interval_said=noted.get("interval", ""),
        read=noted.setdefault("read", {}),
    )


def output_option(*formats: str) -> click.Option:
    """`-o FORMAT`; the first is the default."""
    return click.Option(
        ["-o", "--output", "output"], type=click.Choice(formats), default=formats[0], show_default=True, help="Format."
    )
