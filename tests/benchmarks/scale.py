"""What many jobs cost a command: `validate`, the first pass, `plan` with nothing or one file changed.

    python -m tests.benchmarks.scale [ROW …] [--rounds N] [--quick]

Whole processes, from their start to their end.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

from tests.benchmarks.command import alone
from tests.benchmarks.rows import Bench, Figure, Round, Row, Unavailable, over, under
from tests.benchmarks.tree import RECONCILE, copy, cost, jobs, spec_path, suspended

SCHEMA: Final = Path(__file__).parents[2] / "schemas" / "job.json"
#: Commands of less than half a second are repeated within a round.
TIMES: Final = 3

#: What a script does at least: both cores read half of the files each, parse them, and check them against the schema.
LOOP: Final = """
import json, os, sys
import jsonschema_rs
def check(paths, parser):
    if parser == "ryaml":
        import ryaml
        load = ryaml.loads
    else:
        import yaml
        load = lambda text: yaml.load(text, yaml.CSafeLoader)
    validator = jsonschema_rs.validator_for(json.load(open(sys.argv[1])))
    for path in paths:
        with open(path, encoding="utf-8") as file:
            validator.validate(load(file.read()))
paths = sys.stdin.read().splitlines()
cores = len(os.sched_getaffinity(0))
children = []
for one in range(cores):
    if not (pid := os.fork()):
        check(paths[one::cores], sys.argv[2])
        os._exit(0)
    children.append(pid)
sys.exit(any(os.waitpid(pid, 0)[1] for pid in children))
"""


# --- validate ---------------------------------------------------------------------------------------------------------


def _files(root: Path, bench: Bench) -> list[str]:
    return [str(spec_path(root, number).relative_to(root.parent)) for number in range(bench.size(10_000, 300))]


def against_check_jsonschema(bench: Bench) -> Iterator[Round]:
    beside = Path(sys.executable).with_name("check-jsonschema")
    command = str(beside) if beside.exists() else shutil.which("check-jsonschema")
    if command is None:
        raise Unavailable("check-jsonschema is not installed")
    root = suspended(bench)
    arguments = (command, "--schemafile", str(SCHEMA), *_files(root, bench))
    cost(*RECONCILE, "validate", cwd=root.parent)  # compiles what is not yet
    for _ in range(bench.rounds):
        theirs = cost(*arguments, cwd=root.parent)
        yield {"": (cost(*RECONCILE, "validate", cwd=root.parent).wall_s, theirs.wall_s)}


def against_a_loop(bench: Bench) -> Iterator[Round]:
    root = suspended(bench)
    files = bench.folder / "files.txt"
    files.write_text("\n".join(_files(root, bench)))

    def loop_s(parser: str) -> float:
        program = f"import sys; sys.stdin = open({str(files)!r})\n{LOOP}"
        return cost(sys.executable, "-c", program, str(SCHEMA), parser, cwd=root.parent).wall_s

    cost(*RECONCILE, "validate", cwd=root.parent)
    taken: dict[str, list[float]] = {"ryaml": [], "CSafeLoader": []}
    for _ in range(bench.rounds):
        for parser, found in taken.items():
            found.append(loop_s(parser))
        ours = cost(*RECONCILE, "validate", cwd=root.parent).wall_s
        yield {"": (ours, min(found[-1] for found in taken.values()))}
    bench.note("the loop with " + ", ".join(f"{parser} {median(found):.2f} s" for parser, found in taken.items()))


def first_pass(bench: Bench) -> Iterator[Round]:
    root = suspended(bench)
    cost(*RECONCILE, "validate", cwd=root.parent)
    for fresh in [copy(root) for _ in range(bench.rounds)]:
        theirs = cost(*RECONCILE, "validate", cwd=fresh.parent).wall_s
        yield {"": (cost(*RECONCILE, cwd=fresh.parent).wall_s, theirs)}


# --- plan -------------------------------------------------------------------------------------------------------------


def plans(bench: Bench, count: int) -> Iterator[Round]:
    """Nothing changed, then one spec: in the work tree, and in the commit that is followed."""
    tree = jobs(bench, count)
    tree.restore()
    bench.note(f"a first pass over the commit {tree.settle_commit().wall_s:.1f} s")
    old, new = tree.change([7])
    tree.point(old)
    for _ in range(bench.rounds):
        found: dict[str, list[float]] = {}

        def note(key: str, value: float, found: dict[str, list[float]] = found) -> None:
            found.setdefault(key, []).append(value)

        for _ in range(TIMES):
            note("status", tree.git_status().wall_s)
            note("tree", tree.reconcile("plan").wall_s)
            note("commit", tree.reconcile("plan", *tree.flags).wall_s)
        tree.edit(7)
        tree.point(new)
        for _ in range(TIMES):
            note("tree-one", tree.reconcile("plan").wall_s)
            note("commit-one", tree.reconcile("plan", *tree.flags).wall_s)
        tree.restore()
        tree.point(old)
        took = {key: median(values) for key, values in found.items()}
        yield {
            **{key: (took[key], took["status"]) for key in ("tree", "commit")},
            **{f"{key}-one": (took[f"{key}-one"], took[key]) for key in ("tree", "commit")},
        }


def _plan_figures(count: int, aim: float) -> dict[str, Figure]:
    files = f"{count:,} files"
    return {
        "tree": Figure(
            what=f"`plan`, {files}, work tree, nothing changed", yardstick="`git status`", aim=under(aim)
        ),
        "commit": Figure(what=f"`plan`, {files}, git mode, nothing changed", yardstick="`git status`", aim=under(aim)),
        "tree-one": Figure(
            what=f"`plan`, {files}, work tree, one changed", yardstick="the same, none changed", aim=under(1.1)
        ),
        "commit-one": Figure(
            what=f"`plan`, {files}, git mode, one changed", yardstick="the same, none changed", aim=under(1.1)
        ),
    }  # fmt: skip


_PLAN_DIFFERS: Final = (
    "`git status` compares an index with the work tree (in git mode too, where `plan` looks at no work tree); "
    "`plan` starts Python, and compares what is desired with the record"
)

ROWS: Final = (
    Row(
        name="validate-check-jsonschema",
        asks="validate",
        figures={
            "": Figure(
                what="`validate`, 10,000 job files, cold",
                yardstick="`check-jsonschema`, the same files",
                aim=over(15, "over 15 times as fast"),
                faster=True,
            )
        },
        measure=against_check_jsonschema,
        differs="`validate` also checks `config` by the job type's own schema, and the rules across files",
    ),
    Row(
        name="validate-loop",
        asks="validate",
        figures={
            "": Figure(
                what="`validate`, 10,000 job files, cold",
                yardstick="a loop of the faster of ryaml and CSafeLoader, and jsonschema-rs, on the same cores",
                aim=under(2),
            )
        },
        measure=against_a_loop,
        differs=(
            "the loop knows no place of an error, refuses no duplicate key, checks neither `config` by the job type's schema "
            "nor the rules across files; neither parser alone is correct (`no` is a string in YAML 1.2)"
        ),
    ),
    Row(
        name="first-pass",
        asks="first pass",
        figures={
            "": Figure(
                what="first pass that creates 10,000 suspended jobs, status files and all",
                yardstick="`validate` of the same tree",
                aim=under(3),
            )
        },
        measure=first_pass,
        differs="`validate` writes nothing",
    ),
    Row(
        name="plan-10000",
        asks="plan",
        figures=_plan_figures(10_000, 5),
        measure=lambda bench: plans(bench, bench.size(10_000, 300)),
        differs=_PLAN_DIFFERS,
    ),
    Row(
        name="plan-100000",
        asks="plan",
        figures=_plan_figures(100_000, 4),
        measure=lambda bench: plans(bench, bench.size(100_000, 1_000)),
        differs=_PLAN_DIFFERS,
    ),
)

if __name__ == "__main__":
    sys.exit(alone(__doc__, ROWS))
