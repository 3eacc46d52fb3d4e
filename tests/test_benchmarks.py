"""What the benchmarks found is told whole: every aim has a row, every miss is listed, and the page is what the results say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.clock import Clock
from tests.benchmarks import command, results, year
from tests.benchmarks.__main__ import main
from tests.benchmarks.rows import Bench, Figure, Round, Row, Unavailable, over, under
from tests.benchmarks.table import ROWS


def five(*ratios: float) -> Row:
    def measure(bench: Bench) -> Iterator[Round]:
        bench.note("as it was")
        for ratio in ratios:
            yield {"": (ratio, 1)}

    return Row(
        name="walk",
        asks="walk",
        figures={"": Figure(what="walking", yardstick="a bare walk", aim=under(2))},
        measure=measure,
        differs="the bare walk looks at nothing",
    )


def measured(*rows: Row, folder: Path) -> tuple[int, str]:
    code = command.run(rows, 5, keep=rows, kept_in=folder)
    return code, (folder / results.RENDERED).read_text()


def test_the_page_of_results_is_what_the_results_render_to() -> None:
    assert (results.HERE / results.RENDERED).read_text() == results.render(results.load(), ROWS)


def test_no_result_is_kept_of_a_row_that_is_no_more_or_of_fewer_than_five_rounds() -> None:
    figures = {row.name: row.figures for row in ROWS}
    for name, one in results.load().items():
        assert one["error"] or one["figures"].keys() == figures[name].keys()
        assert all(len(pairs) >= command.LEAST_ROUNDS for pairs in one["figures"].values())


#: Every line of the two tables of aims, and what its rows must name.
AIMED = {
    "validate": ("10,000", "`check-jsonschema`", "jsonschema-rs"),
    "first pass": ("10,000", "`validate`"),
    "plan": ("10,000", "100,000", "work tree", "git mode", "one changed", "`git status`"),
    "edit to decision": ("10,000", "100,000", "p50", "p99", "watchfiles"),
    "commit to decision": ("1,000 changed specs of 100,000", "one changed spec of 100,000", "`git diff-tree`"),
    "CSV import": ("5 million", "DuckDB `COPY`", "dlt", "ingestr 0.15"),
    "JSON import": ("1 million", "pages of 1,000", "bare httpx loop"),
    "webhook export": ("1 million", "batches of 500", "bare httpx loop", "drt-core"),
    "runs that do nothing": ("fork and reap", "huey", "Celery"),
    "dependents' start": ("p99", "SQLite transaction"),
    "daemon memory": ("10,000", "100,000", "idle"),
    "start to ready": ("100,000", "reads and hashes"),
    "the record after a simulated year": ("size", "`list`", "`plan`", "`why NAME`"),
    "rebuild": ("10 million", "1 million", "`GROUP BY`", "peak memory", "1 % new messages"),
    "audience difference": ("5 million", "anti-join"),
    "export of changes": ("1 million", "batches of 500", "bare httpx loop", "drt-core"),
    "live messages": ("p50", "p99", "backfill"),
    "durable messages": ("SQLite",),
}


@pytest.mark.parametrize("line", AIMED)
def test_every_line_of_the_tables_of_aims_has_its_rows(line: str) -> None:
    rows = [row for row in ROWS if row.asks == line]
    told = "; ".join(f"{figure.what}, {figure.yardstick}" for row in rows for figure in row.figures.values())
    assert not [words for words in AIMED[line] if words not in told], told
    assert any(figure.aim for row in rows for figure in row.figures.values())


def test_every_row_answers_a_line_and_says_where_the_work_is_not_the_same() -> None:
    assert {row.asks for row in ROWS} == AIMED.keys()
    assert not [row.name for row in ROWS if not row.differs]


def test_names_of_rows_are_told_apart() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))


def test_a_figure_is_told_with_its_median_its_spread_its_sides_and_its_verdict(tmp_path: Path) -> None:
    code, page = measured(five(1.5, 1.2, 1.9, 1.1, 1.3), folder=tmp_path)
    assert code == 0
    line = "| `walk` | walking | a bare walk | under 2 | 1.30 (1.10 to 1.90) | 1.30 s | 1.00 s | met |"
    assert line in page
    assert "## Aims that are missed\n\nNone.\n" in page
    assert "- `walk`: the bare walk looks at nothing" in page
    assert "| `python -m tests.benchmarks walk` |" in page
    assert "| 5 |" in page
    assert "| as it was |" in page


def test_an_aim_that_is_missed_is_listed(tmp_path: Path) -> None:
    _, page = measured(five(3, 3, 3, 3, 4), folder=tmp_path)
    assert "- `walk`: walking: 3.00 (3.00 to 4.00), aim under 2\n" in page
    assert "| **missed** |" in page


def test_faster_turns_the_ratio_round_and_a_figure_with_no_yardstick_has_its_unit(tmp_path: Path) -> None:
    figure = Figure(what="walking", yardstick="a rival", aim=over(10, "over 10 times as fast"), faster=True)
    row = replace(five(0.05, 0.05, 0.05, 0.05, 0.1), figures={"": figure})
    assert (
        "| over 10 times as fast | 20.00 (10.00 to 20.00) | 50 ms | 1.00 s | met |" in measured(row, folder=tmp_path)[1]
    )
    row = replace(five(700, 800, 900, 1000, 1100), figures={"": Figure(what="memory", yardstick="", unit="bytes")})
    page = measured(row, folder=tmp_path)[1]
    assert "| memory | none | none | 900 bytes (700 bytes to 1,100 bytes) | 900 bytes |  | information |" in page


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unavailable("dlt cannot be installed: no such thing"), "dlt cannot be installed: no such thing"),
        (RuntimeError("`x` ended\nwith 1 in /tmp/a/b/file.csv"), "RuntimeError: `x` ended with 1 in …/file.csv"),
    ],
)
def test_a_row_that_fails_says_why_and_the_others_go_on(tmp_path: Path, error: Exception, told: str) -> None:
    def measure(bench: Bench) -> Iterator[Round]:
        yield {"": (1, 1)}
        raise error

    broken = replace(five(), name="broken", measure=measure)
    code, page = measured(broken, five(1, 1, 1, 1, 1), folder=tmp_path)
    assert code == 1
    assert f"- `broken`: not measured: {told}\n" in page
    assert f"| `broken` | walking | a bare walk | under 2 |  |  |  | {told} |" in page
    assert "| `walk` | walking | a bare walk | under 2 | 1.00 (1.00 to 1.00) |" in page


def test_a_run_of_some_rows_keeps_the_results_of_the_others(tmp_path: Path) -> None:
    run, walk = replace(five(1, 1, 1, 1, 1), name="run"), five(1.5, 1.5, 1.5, 1.5, 1.5)
    command.run([run], 5, keep=[run, walk], kept_in=tmp_path)
    page = (tmp_path / results.RENDERED).read_text()
    assert "- `walk`: not measured yet\n" in page
    command.run([walk], 5, keep=[run, walk], kept_in=tmp_path)
    page = (tmp_path / results.RENDERED).read_text()
    assert "| 1.00 (1.00 to 1.00) |" in page
    assert "| 1.50 (1.50 to 1.50) |" in page


def test_a_machine_is_told_by_what_matters_and_once_where_it_is_one(tmp_path: Path) -> None:
    _, page = measured(five(1, 1, 1, 1, 1), replace(five(1, 1, 1, 1, 1), name="run"), folder=tmp_path)
    machine = results.machine()
    assert machine.keys() == {"cpu", "cores", "memory_gib", "python", "kernel"}
    assert page.count("\nMachine: ") == 1


def test_rows_are_chosen_by_their_name_or_by_how_it_begins() -> None:
    def names(*given: str) -> list[str]:
        return [row.name for row in command.chosen(ROWS, given)]

    assert names("edit-10000") == ["edit-10000"]
    assert names("edit", "first-pass") == ["first-pass", "edit-10000", "edit-100000"]
    assert names() == [row.name for row in ROWS]


def test_the_command_lists_its_rows_and_refuses_what_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [row.name for row in ROWS]
    with pytest.raises(SystemExit, match="no row is called nothing; there are "):
        main(["nothing"])
    with pytest.raises(SystemExit):
        main(["--rounds", "4"])
    assert "--rounds is at least 5" in capsys.readouterr().err


def test_of_a_day_nothing_grows_with_runs_but_what_is_trimmed(tmp_path: Path) -> None:
    life = year.first_day(tmp_path, 2, 4, Clock().now().wall_ms)
    counts = life.counts()
    assert {name: counts[name] for name in ("run", "unit", "resource")} == {"run": 8, "unit": 8, "resource": 3}
