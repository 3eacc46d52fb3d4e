"""A cursor that is none of its job type's ends a run with a sentence that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.provider import Json
from reconciler.data.blocks import Mark
from reconciler.data.content import is_untouched
from reconciler.errors import Fatal
from reconciler.providers.cursors import fields_of, texts_of
from reconciler.providers.http.progress import Progress

EMPTY = {"since": None, "edge": [], "pages": [], "validators": {}, "open": None}
OPEN = {"shape": "x", "place": {"page": 2}, "count": 1, "high": None, "edge": [], "pages": []}


@pytest.mark.parametrize("cursor", [[], "7", 7, {}, {"position": True}, {"position": "7"}])
def test_a_cursor_without_its_fields_is_refused_with_what_helps(cursor: Json) -> None:
    with pytest.raises(Fatal, match=r"^the cursor is not one of export-x; change `restart` to begin anew$"):
        fields_of(cursor, "export-x", {"position": int})


@pytest.mark.parametrize("value", [None, "ab", [1], {"a": 1}])
def test_what_is_no_list_of_texts_is_refused(value: Json) -> None:
    with pytest.raises(Fatal, match="not one of enrich-x"):
        texts_of(value, "enrich-x")


@pytest.mark.parametrize(
    "cursor",
    [
        {**EMPTY, "edge": 3},
        {**EMPTY, "since": {}},
        {**EMPTY, "validators": []},
        {**EMPTY, "open": {**OPEN, "place": 3}},
        {**EMPTY, "open": {**OPEN, "edge": [3]}},
        {**EMPTY, "open": {"shape": "x"}},
        {"next": 3},
    ],
)
def test_a_broken_listing_is_no_listing(cursor: Json) -> None:
    with pytest.raises(Fatal, match="not one of import-json"):
        Progress.load(cursor)


def test_a_whole_listing_is_read_back_as_it_was_written() -> None:
    assert Progress.load({**EMPTY, "open": OPEN}).cursor() == {**EMPTY, "open": OPEN}


@pytest.mark.parametrize(
    "mark", [{"files": {}}, {"at": -1, "line": 1, "digest": "x"}, {"at": True, "line": 1, "digest": "x"}]
)
def test_what_no_reading_of_a_file_has_left_is_no_mark(mark: dict[str, Json]) -> None:
    says = r"^what the cursor says of it is no mark of such a file; change `restart` to begin anew$"
    with pytest.raises(Fatal, match=says):
        Mark.of(mark)
    with pytest.raises(Fatal, match=says):
        is_untouched(Path(__file__), [mark])
