"""Laws of the wire: what is sent arrives as it was, however it is cut, and nothing that comes can do more than be
refused."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.messages import Ended, Intended, Order, Output, Produced, SegmentRef
from reconciler.core.provider import Intent, Unit
from reconciler.runner.frames import MAX_DEPTH, Frames, Malformed, frame
from reconciler.runner.wire import MAX_COUNT, MAX_TEXT, Answer, Stop, decode_from_run, decode_to_run, encode

ORDER = Order(
    job="job", run=1, attempt=2, generation=1, root="/r", path="a.yaml", provider="p", job_type="t", config={},
)  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"]))
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)
counts = st.integers(0, MAX_COUNT)
keys = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
intents = st.builds(
    Intent, key=keys, first=st.integers(0, 10), last=st.integers(9, MAX_COUNT), digest=st.just("0" * 64), detail=values
)
units = st.builds(
    Unit,
    cursor=values, rows=counts, added=counts, removed=counts, omitted=counts, moved=st.booleans(),
    closes=st.lists(keys, unique=True, max_size=3).map(tuple), message=texts.filter(lambda text: len(text) <= MAX_TEXT),
    intends=st.lists(intents, unique_by=lambda one: one.key, max_size=2).map(tuple),
)  # fmt: skip
messages = (
    units.map(lambda unit: Produced(1, 2, unit))
    | st.lists(intents, unique_by=lambda one: one.key, max_size=3).map(lambda many: Intended(1, 2, tuple(many)))
    | st.builds(Output, st.just(1), texts)
    | st.builds(
        Ended, run=st.just(1), attempt=st.just(2), how=st.sampled_from(["succeeded", "fatal"]), message=texts,
        retry_after_s=st.none() | st.floats(0, 1000), found_nothing=st.booleans(),
        approval=st.text("0123456789abcdef", max_size=64),
    )
)  # fmt: skip


def payload(data: bytes) -> bytes:
    (one,) = Frames(None).feed(data)
    return one


@given(messages)
def test_what_a_run_says_is_heard_as_it_was_said(message: Any) -> None:
    assert decode_from_run(payload(encode(message)), ORDER) == message


@given(st.lists(st.binary(max_size=30), max_size=8), st.lists(st.integers(1, 20), min_size=1))
def test_frames_are_put_together_however_they_are_cut(payloads: list[bytes], cuts: list[int]) -> None:
    data = b"".join(len(one).to_bytes(4, "big") + one for one in payloads)
    frames, found, at = Frames(100), [], 0
    for number in range(len(data)):
        step = cuts[number % len(cuts)]
        found += frames.feed(data[at : at + step])
        at += step
    assert found == payloads


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(one for key, member in inner for one in places(member, (*path, key)))]


@settings(max_examples=300)
@given(messages, values, st.randoms(use_true_random=False), st.booleans())
def test_a_changed_message_is_heard_or_refused_and_nothing_else(
    message: Any, other: Any, random: Any, remove: bool
) -> None:
    value = json.loads(payload(encode(message)))
    *path, key = random.choice(places(value)[1:])
    target = value
    for step in path:
        target = target[step]
    if remove:
        del target[key]
    else:
        target[key] = other
    try:
        heard = decode_from_run(json.dumps(value).encode(), ORDER)
    except Malformed:
        return
    assert decode_from_run(payload(encode(heard)), ORDER) == heard


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_heard_or_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode_from_run(data, ORDER)


@pytest.mark.parametrize("depth", [MAX_DEPTH - 2, MAX_DEPTH - 1])
def test_what_may_be_nested_can_be_written_again(depth: int) -> None:
    cursor: Any = None
    for _ in range(depth - 1):
        cursor = [cursor]
    message = Produced(1, 2, Unit(cursor=cursor))
    assert decode_from_run(payload(encode(message)), ORDER) == message


def test_what_the_controller_says_is_heard_as_it_was_said() -> None:
    order = Order(
        job="job", run=1, attempt=2, generation=3, root="/r", path="a.yaml", provider="p", job_type="t",
        config={"a": [1, {"b": "ü"}]}, authorization="main", method="token", credentials={"token": {"env": "X"}},
        cursor={"at": 5}, unit=4, omitted=2, open_intents=(Intent(key="k", first=0, last=1, digest="0" * 64),),
        streams={"orders": (SegmentRef(file="a", first=0, rows=5),)}, columns={"orders": {"amount": "integer"}},
        data_dir="/d", allow_paths=("/x",), allow_exec=True, secret_key="00", timeout_s=1.5, writes=("orders",),
    )  # fmt: skip
    for message in (order, Answer(True), Answer(False), Stop()):
        assert decode_to_run(payload(encode(message))) == message


def test_a_frame_is_its_length_and_its_text() -> None:
    assert frame("ü") == b"\x00\x00\x00\x02\xc3\xbc"


def test_a_controller_that_imports_the_runner_loads_none_of_the_heavy_libraries() -> None:
    program = "import sys, reconciler.runner.local; print(sorted({'duckdb','httpx','numpy','pyarrow','pydantic'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {program}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"
