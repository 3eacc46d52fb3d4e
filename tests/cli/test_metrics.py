"""`reconcile metrics`: what a job has moved over time, drawn, as JSON and as a chart; and the line of it in `show`."""

from __future__ import annotations

import io
import json
import re
from xml.etree import ElementTree

import pytest

from reconciler.cli.metrics import series_of
from reconciler.cli.terminal import Terminal, cells
from reconciler.clock import Clock, iso, milliseconds
from reconciler.core.metrics import DAY_MS, HOUR_MS, MINUTE_MS, Grain
from reconciler.core.provider import Unit
from reconciler.record.store import Record
from tests.cli.conftest import CREATED_MS, World

NOW_MS = Clock().now().wall_ms


def moved(world: World, job_id: int, *units: tuple[int, Unit], now_ms: int = NOW_MS) -> None:
    """Units of a job, each so many milliseconds ago."""
    with Record.writing(world.state) as record, record.transaction():
        run = record.runs.run(record.runs.begin(job_id, 1, now_ms))
        assert run is not None
        for number, (ago_ms, unit) in enumerate(units, start=1):
            record.runs.commit_unit(run, number, unit, now_ms - ago_ms)


@pytest.fixture
def busy(world: World) -> World:
    units = [(n * DAY_MS, Unit(cursor=n, rows=100 * (n + 1), omitted=n % 2)) for n in range(5)]
    moved(world, world.job("import-orders"), *units)
    return world


def test_each_measure_that_is_not_zero_is_drawn_as_bars_over_time(busy: World) -> None:
    minutes = NOW_MS % DAY_MS // MINUTE_MS  # of today: the first day is four days ago, whatever the time
    ended = busy.run("metrics", "import-orders", "--grain", "day", "--since", f"{4 * 24 * 60 + minutes}m")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    first = iso(NOW_MS - 4 * DAY_MS)[:10]
    assert lines[0] == f"import-orders  by day since {first}"
    assert lines[2] == "rows: 1,500 in all, at most 500 in one day"
    assert lines[3] == "500 ███"
    assert lines[7] == "  0 ███ ███ ███ ███ ███"
    assert lines[8].split() == [first]  # no room for the last
    assert "omitted: 2 in all, at most 1 in one day" in lines
    assert "added" not in ended.out
    assert "\x1b" not in ended.out


def test_no_line_is_wider_than_the_terminal_however_long_the_time(busy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["--since", "2d", "--grain", "minute"], ["--since", "60d", "--grain", "hour"], []):
        ended = busy.run("metrics", "import-orders", *arguments)
        assert ended.code == 0
        assert max(map(cells, ended.out.splitlines())) <= 80
    squeezed = busy.run("metrics", "import-orders", "--since", "2d", "--grain", "minute").out
    assert re.search(r"rows: [\d,]+ in all, at most [\d,]+ in \d+ minutes", squeezed)


def test_json_has_a_point_for_every_day_and_the_sums(busy: World) -> None:
    body = json.loads(busy.run("metrics", "import-orders", "--since", "4d1h", "-o", "json").out)
    assert (body["name"], body["grain"]) == ("import-orders", "day")
    assert body["totals"] == {"rows": 1500, "added": 0, "removed": 0, "omitted": 2}
    assert [point["rows"] for point in body["points"]][-5:] == [500, 400, 300, 200, 100]
    assert body["points"][-1]["time"] == f"{iso(NOW_MS)[:10]}T00:00:00.000Z"


def test_svg_is_a_chart_of_its_own(busy: World) -> None:
    ended = busy.run("metrics", "import-orders", "-o", "svg")
    root = ElementTree.fromstring(ended.out)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall("{http://www.w3.org/2000/svg}rect")) == 7


@pytest.mark.parametrize(("since", "grain"), [("1h", "minute"), ("1d", "hour"), ("30d", "day")])
def test_the_grain_is_chosen_by_the_length_of_time(busy: World, since: str, grain: str) -> None:
    assert json.loads(busy.run("metrics", "import-orders", "--since", since, "-o", "json").out)["grain"] == grain
    asked = busy.run("metrics", "import-orders", "--since", since, "--grain", "hour", "-o", "json")
    assert json.loads(asked.out)["grain"] == "hour"


def test_a_grain_that_is_not_kept_so_long_is_shown_as_far_as_it_goes_and_it_is_said(busy: World) -> None:
    ended = busy.run("metrics", "import-orders", "--since", "30d", "--grain", "minute", "-o", "json")
    first = json.loads(ended.out)["since"]
    assert ended.err == f"minutes are kept for 2 days: shown from {first[:10]} {first[11:16]}Z on.\n"
    assert len(json.loads(ended.out)["points"]) <= 2 * 24 * 60 + 1


def test_a_series_begins_no_earlier_than_the_job(world: World) -> None:
    job_id = world.job("import-orders")
    with Record.reading(world.state) as record:
        job = record.jobs.by_id(job_id)
        assert job is not None
        series = series_of(record, job, Grain.DAY, 0, CREATED_MS + 3 * DAY_MS)
    assert [iso(point.start_ms)[:10] for point in series.points] == [f"2026-11-{day}" for day in (20, 21, 22, 23)]
    assert series.first_ms == milliseconds("2026-11-20T00:00:00.000Z")


def test_a_job_that_moved_nothing_says_so(world: World) -> None:
    world.job("import-orders")
    ended = world.run("metrics", "import-orders", "--since", "3h")
    assert ended.code == 0
    assert re.search(r"^Nothing was moved since 2\d{3}-\d\d-\d\d \d\d:\d\dZ\.$", ended.out, re.MULTILINE)


def test_a_name_or_a_time_that_is_wrong_is_said(busy: World) -> None:
    unknown = busy.run("metrics", "import-order")
    assert (unknown.code, unknown.err) == (2, "Error: there is no job 'import-order'; did you mean 'import-orders'?\n")
    ahead = busy.run("metrics", "import-orders", "--since", "2999-01-01T00:00:00Z")
    assert (ahead.code, ahead.err) == (2, "Error: --since: '2999-01-01T00:00:00Z' lies ahead\n")


def test_a_terminal_without_unicode_gets_bars_all_the_same() -> None:
    raw = io.BytesIO()
    terminal = Terminal.of(io.TextIOWrapper(raw, encoding="ascii"), None, no_color=True)
    terminal.print(" ▁▂▃▄▅▆▇█")
    assert raw.getvalue() == b" __--==##\n"


def test_show_has_the_last_days_in_one_line(busy: World) -> None:
    (line,) = [one for one in busy.run("show", "import-orders").out.splitlines() if one.startswith("  30 days")]
    assert line.split(maxsplit=2)[2] == "█▆▅▃▂"
    assert cells(line) <= 80


def test_show_has_no_such_line_where_nothing_was_moved(world: World) -> None:
    world.job("import-orders")
    assert "30 days" not in world.run("show", "import-orders").out


def test_an_hour_ago_is_in_the_bars_of_an_hour_ago(world: World) -> None:
    moved(world, world.job("import-orders"), (HOUR_MS, Unit(cursor=1, added=3, removed=1)))
    body = json.loads(world.run("metrics", "import-orders", "--since", "3h", "--grain", "hour", "-o", "json").out)
    assert [(point["added"], point["removed"]) for point in body["points"]][-2:] in ([(3, 1), (0, 0)], [(0, 0), (0, 0)])
    assert body["totals"] == {"rows": 0, "added": 3, "removed": 1, "omitted": 0}
