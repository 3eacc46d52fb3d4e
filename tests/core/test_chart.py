"""The chart of what a job has moved is an XML document that anything can show."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.clock import milliseconds
from reconciler.core.chart import WIDTH, moment, svg
from reconciler.core.metrics import DAY_MS, Grain, Point

START_MS = milliseconds("2026-11-01T00:00:00.000Z")
SVG = "{http://www.w3.org/2000/svg}"


def days(*rows: int, omitted: int = 0) -> list[Point]:
    return [Point(start_ms=START_MS + n * DAY_MS, rows=value, omitted=omitted) for n, value in enumerate(rows)]


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def test_each_day_is_a_bar_that_says_its_sum() -> None:
    root = parsed(svg("import-orders", Grain.DAY, days(5, 0, 1_200)))
    assert root.tag == f"{SVG}svg"
    bars = root.findall(f"{SVG}rect")
    assert [bar.find(f"{SVG}title").text for bar in bars] == ["2026-11-01: 5 rows", "2026-11-03: 1,200 rows"]  # type: ignore[union-attr]
    low, high = (float(bar.attrib["height"]) for bar in bars)
    assert (low, high) == (1.0, 120.0)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "rows: 1,205 in all, at most 1,200 in one day" in texts
    assert texts[-3:] == ["2026-11-01", "2026-11-02", "2026-11-03"]


def test_light_letters_stand_on_dark_paper_alone() -> None:
    (style,) = [one.text or "" for one in parsed(svg("a", Grain.DAY, days(5))).iter(f"{SVG}style")]
    light, _, dark = style.partition("@media (prefers-color-scheme:dark)")
    assert ("svg{background:#ffffff}" in light, "fill:#24292f" in light) == (True, True)
    assert ("svg{background:#0d1117}" in dark, "fill:#e6edf3" in dark) == (True, True)


def test_only_what_is_not_zero_has_a_panel() -> None:
    panels = {bar.attrib["class"] for bar in parsed(svg("a", Grain.DAY, days(5))).iter(f"{SVG}rect")}
    assert panels == {"rows"}
    panels = {bar.attrib["class"] for bar in parsed(svg("a", Grain.DAY, days(5, omitted=2))).iter(f"{SVG}rect")}
    assert panels == {"rows", "omitted"}


def test_a_chart_of_nothing_is_a_chart() -> None:
    for points in ([], days(0, 0)):
        root = parsed(svg("import-orders", Grain.HOUR, points))
        assert root.findall(f"{SVG}rect") == []
        assert "rows: 0 in all, at most 0 in one hour" in [text.text for text in root.iter(f"{SVG}text")]


def test_moments_are_days_or_minutes_of_utc() -> None:
    at_ms = milliseconds("2026-11-20T09:30:00.000Z")
    assert moment(at_ms, Grain.DAY) == "2026-11-20"
    assert moment(at_ms, Grain.MINUTE) == "2026-11-20 09:30Z"


@given(
    title=st.text(max_size=40),
    grain=st.sampled_from(Grain),
    values=st.lists(st.tuples(*[st.integers(0, 10**15)] * 4), max_size=60),
)
@settings(max_examples=60)
def test_whatever_the_name_and_the_numbers_it_is_valid_and_fits(
    title: str, grain: Grain, values: list[tuple[int, int, int, int]]
) -> None:
    points = [
        Point(start_ms=START_MS + n * DAY_MS, rows=a, added=b, removed=c, omitted=d)
        for n, (a, b, c, d) in enumerate(values)
    ]
    text = svg(title, grain, points)
    root = parsed(text)
    assert not {"script", "image", "use", "foreignObject"} & {one.tag.removeprefix(SVG) for one in root.iter()}
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "") or "http" in title
    for bar in root.iter(f"{SVG}rect"):
        assert float(bar.attrib["x"]) >= 0
        assert float(bar.attrib["x"]) + float(bar.attrib["width"]) <= WIDTH
        assert 0 < float(bar.attrib["height"]) <= 120
