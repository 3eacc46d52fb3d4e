"""The results that are kept: `results.json` holds every pair that was measured, `RESULTS.md` is rendered from it.

A run of some rows replaces these rows and keeps the others. What a row is (its words and its aim) stands in the table, not
in the results, so a changed aim is judged anew; a test holds RESULTS.md to be what results.json renders to.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from tests.benchmarks.rows import Figure, Pair, Row

HERE: Final = Path(__file__).parent
STORED: Final = "results.json"
RENDERED: Final = "RESULTS.md"
#: What running the benchmarks changes itself.
_OURS: Final = tuple(f":(exclude)tests/benchmarks/{name}" for name in (STORED, RENDERED))

HEAD: Final = """\
# Results of the benchmarks

Written by `python -m tests.benchmarks`; [README.md](README.md) says how. Each ratio is the median of the rounds, with the
least and the greatest beside it; ours and the yardstick were measured in turn in the same run. The absolute figures are of
the machine named here and mean nothing elsewhere. Every pair that was measured is in [results.json](results.json).
"""


def machine() -> dict[str, Any]:
    """What the figures depend on; neither who it belongs to nor where."""
    cpuinfo, meminfo = Path("/proc/cpuinfo").read_text(), Path("/proc/meminfo").read_text()
    models = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(meminfo.split()[1]) / (1 << 20), 1),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def commit() -> str:
    """The commit that is measured; it says so where files differ from it."""
    head = _git("rev-parse", "--short=10", "HEAD")
    return f"{head} and changes" if _git("status", "--porcelain", "--", ":/", *_OURS) else head


def _git(*arguments: str) -> str:
    top = HERE.parents[1]
    return subprocess.run(["git", *arguments], cwd=top, check=True, capture_output=True, text=True).stdout.strip()


def load(folder: Path = HERE) -> dict[str, Any]:
    path = folder / STORED
    return json.loads(path.read_text()) if path.exists() else {}


def store(stored: Mapping[str, Any], rows: Sequence[Row], folder: Path = HERE) -> None:
    """Keeps the results of the rows that there are, and renders them."""
    names = [row.name for row in rows]
    kept = {name: stored[name] for name in names if name in stored}
    lines = (f"{json.dumps(name)}: {json.dumps(one, sort_keys=True)}" for name, one in kept.items())
    _replace(folder / STORED, "{\n" + ",\n".join(lines) + "\n}\n")
    _replace(folder / RENDERED, render(kept, rows))


def _replace(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


# --- the page ---------------------------------------------------------------------------------------------------------


def render(stored: Mapping[str, Any], rows: Sequence[Row]) -> str:
    parts = [HEAD, *_machines(stored), _missed(stored, rows), _table(stored, rows), _differences(rows)]
    return "\n".join([*parts, _runs(stored, rows)])


def _machines(stored: Mapping[str, Any]) -> Iterable[str]:
    said: dict[str, list[str]] = {}
    for name, one in stored.items():
        said.setdefault(_machine(one["machine"]), []).append(name)
    for text, names in said.items():
        yield f"Machine{'' if len(said) == 1 else ' of ' + ', '.join(names)}: {text}.\n"


def _machine(one: Mapping[str, Any]) -> str:
    return (
        f"{one['cpu']}, {one['cores']} cores, {one['memory_gib']:g} GiB of memory, "
        f"Python {one['python']}, Linux {one['kernel']}"
    )


def _missed(stored: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Every aim that is not shown to be met, and why."""
    lines = []
    for row in rows:
        one = stored.get(row.name)
        if one is None:
            lines.append(f"- `{row.name}`: not measured yet")
        elif one["error"]:
            lines.append(f"- `{row.name}`: not measured: {one['error']}")
        else:
            lines += [
                f"- `{row.name}`: {figure.what}: {_value(figure, pairs)}, aim {figure.aim}"
                for figure, pairs in found(row, one)
                if pairs and figure.aim and not figure.aim.holds(figure.middle(pairs))
            ]
    return "## Aims that are missed\n\n" + ("\n".join(lines) or "None.") + "\n"


def found(row: Row, one: Mapping[str, Any]) -> list[tuple[Figure, list[Pair]]]:
    return [(figure, [(a, b) for a, b in one["figures"].get(key, ())]) for key, figure in row.figures.items()]


def _table(stored: Mapping[str, Any], rows: Sequence[Row]) -> str:
    lines = [
        "## Figures\n",
        "| row | measured | yardstick | aim | ratio (spread) | ours | yardstick's | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        one = stored.get(row.name, {"figures": {}, "error": "not measured yet"})
        for figure, pairs in found(row, one):
            cells = (f"`{row.name}`", figure.what, figure.yardstick or "none", str(figure.aim or "none"))
            lines.append("| " + " | ".join((*cells, *measured(figure, pairs, one["error"]))) + " |")
    return "\n".join(lines) + "\n"


class Said(NamedTuple):
    """A figure in words: the ratio with its spread, both sides' medians, and how it stands to the aim."""

    ratio: str
    ours: str
    theirs: str
    verdict: str


def measured(figure: Figure, pairs: Sequence[Pair], error: str = "") -> Said:
    if not pairs:
        return Said("", "", "", error or "not measured yet")
    if figure.aim is None:
        verdict = "information"
    else:
        verdict = "met" if figure.aim.holds(figure.middle(pairs)) else "**missed**"
    ours, theirs = (amount(median(one[side] for one in pairs), figure.unit) for side in (0, 1))
    return Said(_value(figure, pairs), ours, theirs if figure.yardstick else "", verdict)


def _value(figure: Figure, pairs: Sequence[Pair]) -> str:
    """The median and the spread; with the unit where there is no yardstick."""
    ratios = [figure.ratio(one) for one in pairs]
    if figure.yardstick:
        return f"{figure.middle(pairs):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    show = [amount(value, figure.unit) for value in (figure.middle(pairs), min(ratios), max(ratios))]
    return f"{show[0]} ({show[1]} to {show[2]})"


def amount(value: float, unit: str) -> str:
    """In words that are read at a glance."""
    match unit:
        case "s" if value < 1:
            return f"{value * 1000:.3g} ms"
        case "s":
            return f"{value:.2f} s"
        case "/s":
            return f"{value:,.0f}/s"
        case "%":
            return f"{value:.3g} %"
        case _:
            return f"{value:,.0f} {unit}"


def _differences(rows: Sequence[Row]) -> str:
    lines = [f"- `{row.name}`: {row.differs}" for row in rows if row.differs]
    return "## Where the work is not the same\n\n" + "\n".join(lines) + "\n"


def _runs(stored: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Of each row: its command, and on what it was measured."""
    lines = ["## Runs\n", "| command | commit | rounds | load average | took | |", "|---|---|---|---|---|---|"]
    for row in rows:
        one = stored.get(row.name)
        if one is not None:
            rounds = max((len(pairs) for pairs in one["figures"].values()), default=0)
            low, high = one["load"]
            cells = (f"`{one['command']}`", one["commit"], str(rounds), f"{low:.1f} to {high:.1f}")
            lines.append("| " + " | ".join((*cells, f"{one['took_s']:.0f} s", "; ".join(one["notes"]))) + " |")
    return "\n".join(lines) + "\n"
