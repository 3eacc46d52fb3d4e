"""What a run may not say: each of these ends that run with a clear message, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.messages import Ended, Exited, FromRun, Output, Produced
from reconciler.runner.capture import LINE_CUT, MAX_CHARACTERS, MAX_LINES, OUTPUT_CUT
from reconciler.runner.wire import MAX_LINE
from tests.runner.conftest import Bench, last, only

BROKE = "The provider broke the protocol of a run: "
SEGMENT = "streams/orders/job-1-1-1-1-0.parquet"


def staged(bench: Bench, file: str = SEGMENT, **fields: Any) -> dict[str, Any]:
    """A segment that is really there, and what a provider says of it."""
    path = bench.data / SEGMENT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12345")
    return {"stream": "orders", "file": file, "rows": 3, "size": 5, "schema": "s", **fields}


def refusal(heard: list[FromRun]) -> str:
    """The one message with which a run was refused; its process was killed for it, which is not a kill of ours."""
    ended, exited = last(heard)
    assert ended.how == "fatal"
    assert not exited.killed
    assert not exited.timed_out
    assert ended.message.startswith(BROKE)
    assert only(Produced, heard) == []
    return ended.message.removeprefix(BROKE)


def test_a_good_segment_is_taken(bench: Bench) -> None:
    heard = bench.run("unit", config={"segments": [staged(bench)], "rows": 3}, writes=("orders",))
    assert only(Produced, heard)[0].unit.segments[0].file == SEGMENT


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ({"rows": -1}, "unit.rows: expected a whole number from 0 to 1000000000000, found -1."),
        ({"rows": 10**12 + 1}, "unit.rows: expected a whole number from 0 to 1000000000000, found 1000000000001."),
        ({"rows": "5"}, "unit.rows: expected a whole number from 0 to 1000000000000, found a text of 1 characters."),
        ({"added": 1.5}, "unit.added: expected a whole number from 0 to 1000000000000, found 1.5."),
        ({"removed": True}, "unit.removed: expected a whole number from 0 to 1000000000000, found true."),
        ({"omitted": None}, "unit.omitted: expected a whole number from 0 to 1000000000000, found null."),
        ({"moved": 1}, "unit.moved: expected true or false, found 1."),
        ({"message": 5}, "unit.message: expected text, found 5."),
        ({"closes": "k1"}, "unit.closes: expected a list, found a text of 2 characters."),
        ({"closes": [5]}, "unit.closes.0: expected a key, found 5."),
        ({"closes": ["a\nb"]}, "unit.closes.0: expected a key, found a text of 3 characters."),
        ({"closes": ["k", "k"]}, "unit.closes: a value stands there twice."),
        ({"closes": ["k" * 513]}, "unit.closes.0: 513 characters; at most 512 are allowed."),
        ({"closes": list(map(str, range(10_001)))}, "unit.closes: 10001 of them; at most 10000 are allowed."),
        (
            {"rejects": ["rejects/job-1/run-1-unit-1.ndjson"]},
            "unit.rejects.0: there is no such file in the data folder.",
        ),
        ({"rejects": ["rejects/job-2/run-1-unit-1.ndjson"]}, "unit.rejects.0: not a rejects file of this run."),
        (
            {"rejects": ["/etc/passwd"]},
            "unit.rejects.0: expected a file relative to the data folder, found a text of 11 characters.",
        ),
        ({"keeps": ["jobs/other/1-1-1-x.parquet"]}, "unit.keeps.0: not a file of this job's own."),
        ({"keeps": ["jobs/job-1/1-1-1-x.parquet"]}, "unit.keeps.0: there is no such file in the data folder."),
    ],
)
def test_a_unit_with_a_bad_field_is_refused(bench: Bench, unit: dict[str, Any], message: str) -> None:
    assert refusal(bench.run("unit", config=unit)) == message


RELATIVE = "unit.segments.0.file: expected a file relative to the data folder, found a text of {} characters."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"file": "/etc/passwd"}, RELATIVE.format(11)),
        ({"file": "../record.db"}, RELATIVE.format(12)),
        ({"file": "streams/../../x"}, RELATIVE.format(15)),
        ({"file": "streams//x"}, RELATIVE.format(10)),
        ({"file": "./streams/x"}, RELATIVE.format(11)),
        ({"file": "streams/x\0"}, RELATIVE.format(10)),
        ({"file": ""}, RELATIVE.format(0)),
        ({"file": "streams/orders/other-1-1-1-0.parquet"}, "unit.segments.0.file: not a segment of this stream and attempt."),
        ({"file": "streams/orders/job-1-1-2-1-0.parquet"}, "unit.segments.0.file: not a segment of this stream and attempt."),
        ({"file": "streams/flights/job-1-1-1-1-0.parquet"}, "unit.segments.0.file: not a segment of this stream and attempt."),
        ({"file": "streams/orders/job-1-1-1-1-9.parquet"}, "unit.segments.0.file: there is no such file in the data folder."),
        ({"stream": "flights"}, "unit.segments.0.stream: not a stream that the job writes to."),
        ({"stream": "Bad/Name"}, "unit.segments.0.stream: expected the name of a stream, found a text of 8 characters."),
        ({"size": 6}, "unit.segments.0.size: 6 is not the size of its file."),
        ({"rows": 0}, "unit.segments.0.rows: expected a whole number from 1 to 1000000000000, found 0."),
        (
            {"min_timestamp_ms": 10**18},
            "unit.segments.0.min_timestamp_ms: expected a whole number from -62135596800000 to 253402300799999, "
            "found 1000000000000000000.",
        ),
    ],
)  # fmt: skip
def test_a_segment_that_is_not_the_runs_own_is_refused(bench: Bench, fields: dict[str, Any], message: str) -> None:
    heard = bench.run("unit", config={"segments": [staged(bench, **fields)]}, writes=("orders",))
    assert refusal(heard) == message


def test_a_segment_named_twice_is_refused(bench: Bench) -> None:
    heard = bench.run("unit", config={"segments": [staged(bench), staged(bench)]})
    assert refusal(heard) == "unit.segments: file stands there twice."


def test_a_segment_that_is_a_symlink_is_refused(bench: Bench, tmp_path: Path) -> None:
    one = staged(bench)
    (tmp_path / "elsewhere").write_bytes(b"12345")
    (bench.data / SEGMENT).unlink()
    (bench.data / SEGMENT).symlink_to(tmp_path / "elsewhere")
    assert refusal(bench.run("unit", config={"segments": [one]})) == "unit.segments.0.file: expected a regular file."


def test_a_segment_in_a_folder_that_leads_out_is_refused(bench: Bench, tmp_path: Path) -> None:
    one = staged(bench)
    (bench.data / "streams" / "orders").rename(tmp_path / "elsewhere")
    (bench.data / "streams" / "orders").symlink_to(tmp_path / "elsewhere")
    message = refusal(bench.run("unit", config={"segments": [one]}))
    assert message == "unit.segments.0.file: the file leads out of the data folder."


def produced(**unit: Any) -> str:
    fields = {
        "cursor": None, "rows": 0, "added": 0, "removed": 0, "omitted": 0, "segments": [], "closes": [], "rejects": [],
        "message": "", "moved": True, "keeps": None,
    }  # fmt: skip
    return json.dumps({"is": "Produced", "run": 1, "attempt": 1, "unit": {**fields, **unit}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "a message: expected an object, found a list."),
        ("{", "a message that is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)."),
        ("{}", "a message of an unknown kind."),
        ('{"is": "Exited"}', "a message of an unknown kind."),
        ('{"is": ["Produced"]}', "a message of an unknown kind."),
        ('{"is": "Output", "run": 1}', "text: missing."),
        ('{"is": "Output", "run": 1, "text": "", "x": 1}', "a message: an unknown field, a text of 1 characters."),
        ('{"is": "Output", "run": 2, "text": ""}', "a message that speaks for another run than 1, attempt 1."),
        (json.dumps({"is": "Output", "run": 1, "text": "x" * 8193}), "text: 8193 characters; at most 8192 are allowed."),
        (produced().replace('"attempt": 1', '"attempt": 2'), "a message that speaks for another run than 1, attempt 1."),
        (produced(cursor=float("nan")), "a message that is not JSON: NaN is no JSON number."),
        (produced(cursor=float("-inf")), "a message that is not JSON: -Infinity is no JSON number."),
        (produced(cursor=1).replace('"cursor": 1', '"cursor": 1e999'), "a message that is not JSON: the number 1e999 is too large."),
        (produced(cursor="\ud800"), "text that is no Unicode: half a surrogate pair."),
        (produced(cursor=0).replace('"cursor": 0', '"cursor": ' + "[" * 70 + "]" * 70), "a message nested deeper than 64."),
        (produced(cursor=0).replace('"cursor": 0', '"cursor": ' + "[" * 10**5 + "]" * 10**5), "a message nested deeper than 64."),
        ('{"is": "Produced", "run": 1, "attempt": 1, "unit": 5}', "unit: expected an object, found 5."),
        (
            '{"is": "SecretSeen", "run": 1, "authorization": "", "field": "x", "digest": "%s"}' % ("0" * 64),
            "field: not a credential of the run.",
        ),
        (
            '{"is": "Ended", "run": 1, "attempt": 1, "how": "won", "message": "", "retry_after_s": null, "found_nothing": true, "approval": ""}',
            "how: expected one of succeeded, stopped, retriable, fatal, limited, held, found a text of 3 characters.",
        ),
        (
            '{"is": "Ended", "run": 1, "attempt": 1, "how": "limited", "message": "", "retry_after_s": -1, "found_nothing": true, "approval": ""}',
            "retry_after_s: expected seconds from 0 to 31622400, found -1.",
        ),
        (
            '{"is": "Intended", "run": 1, "attempt": 1, "intents": '
            '[{"key": "k", "first": 5, "last": 3, "digest": "%s", "detail": null}]}' % ("0" * 64),
            "intents.0.last: 3 lies before the first position 5.",
        ),
        (
            '{"is": "Intended", "run": 1, "attempt": 1, "intents": '
            '[{"key": "k", "first": 5, "last": 5, "digest": "xyz", "detail": null}]}',
            "intents.0.digest: expected a SHA-256 digest in hexadecimal, found a text of 3 characters.",
        ),
    ],
)  # fmt: skip
def test_a_message_behind_the_runners_back_is_refused(bench: Bench, text: str, message: str) -> None:
    assert refusal(bench.run("say", config={"texts": [text]})) == message


def test_bytes_that_are_not_utf_8_are_refused(bench: Bench) -> None:
    assert refusal(bench.run("say", config={"hex": "00000002c328"})) == "a message that is not UTF-8."


def test_an_announced_length_over_the_limit_is_refused_before_it_comes(bench: Bench) -> None:
    message = refusal(bench.run("say", config={"hex": "ffffffff"}))
    assert message == "a message of 4294967295 bytes; at most 16777216 are allowed."


def test_a_second_unit_before_the_answer_to_the_first_is_refused(bench: Bench) -> None:
    bench.runner.start(bench.order("say", config={"texts": [produced(), produced()]}))
    heard = bench.until(lambda one: isinstance(one, Exited))
    ended, _ = last(heard)
    assert len(only(Produced, heard)) == 1
    assert ended.message == f"{BROKE}a unit or intents while the ones before have no answer yet."
    bench.runner.answer(1, True)


def test_a_flood_of_output_ends_the_run_and_holds_up_no_other(bench: Bench) -> None:
    bench.runner.start(bench.order("say", 1, config={"flood": True}))
    bench.runner.start(bench.order("count", 2, config={"units": 3}))
    heard = bench.finish()
    ended = {one.run: one for one in only(Ended, heard)}
    assert ended[1].message == f"{BROKE}more than 10000 lines of output."
    assert ended[2].how == "succeeded"


def test_a_run_that_hangs_up_is_ended(bench: Bench) -> None:
    heard = bench.run("say", config={"hang_up": True})
    assert only(Ended, heard) == []
    assert only(Exited, heard)[0].signal == 9


def test_a_run_that_lingers_after_its_end_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.runner.local.LINGER_S", 0.1)
    ended, exited = last(bench.run("linger"))
    assert ended.how == "succeeded"
    assert (exited.signal, exited.killed, exited.timed_out) == (9, False, False)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nothing", "The provider produced a NoneType where units are needed."),
        ("text", "The provider produced a str where a Unit is needed."),
        ("set", "Unit 1 of the provider cannot be kept as JSON: a value of type set is not JSON"),
        ("nan", "Unit 1 of the provider cannot be kept as JSON: Out of range float values are not JSON compliant"),
        ("large", "Unit 1 of the provider is 17825975 bytes as JSON; at most 16777216 are allowed."),
        ("circle", "Unit 1 of the provider cannot be kept as JSON: Circular reference detected"),
        ("intent", "The provider intends something that is not an Intent."),
        ("next", "The provider intends something that is not an Intent."),
    ],
)
def test_what_is_no_unit_is_fatal(bench: Bench, what: str, message: str) -> None:
    ended, _ = last(bench.run("odd", config={"what": what}))
    assert (ended.how, ended.message) == ("fatal", message)


def test_a_cursor_that_is_no_unicode_is_fatal(bench: Bench) -> None:
    ended, _ = last(bench.run("odd", config={"what": "surrogate"}))
    assert ended.how == "fatal"
    assert ended.message.startswith("Unit 1 of the provider cannot be kept as JSON: 'utf-8' codec can't encode")


def test_the_output_is_captured_line_by_line(bench: Bench) -> None:
    lines = [one.text for one in only(Output, bench.run("speak", config={"times": 3, "length": 2}))]
    assert lines == ["0x", "1x", "2x", "no end of line"]


def test_a_long_line_is_cut_and_says_so(bench: Bench) -> None:
    lines = [one.text for one in only(Output, bench.run("speak", config={"times": 1, "length": 200_000}))]
    assert [len(line) for line in lines] == [MAX_LINE, len("no end of line")]
    assert lines[0].endswith(LINE_CUT)


def test_output_beyond_the_limit_of_lines_is_cut_and_says_so(bench: Bench) -> None:
    lines = [one.text for one in only(Output, bench.run("speak", config={"times": 2 * MAX_LINES, "length": 1}))]
    assert len(lines) == MAX_LINES + 1
    assert lines[-1] == OUTPUT_CUT


def test_output_beyond_the_limit_of_characters_is_cut_and_says_so(bench: Bench) -> None:
    lines = [one.text for one in only(Output, bench.run("speak", config={"times": 300, "length": 8000}))]
    assert len(lines) == MAX_CHARACTERS // 8000 + 1
    assert lines[-1] == OUTPUT_CUT


def test_no_secret_leaves_a_run_in_any_message(bench: Bench, tmp_path: Path) -> None:
    secret = "correct-horse-battery"
    (tmp_path / "token").write_text(secret)
    heard = bench.run("leak", authorization="main", credentials={"token": {"file": str(tmp_path / "token")}})
    assert secret not in repr(heard)
    lines = [one.text for one in only(Output, heard)]
    assert {"token is ***", "again ***", "logged ***", "child ***", "KeyError: '***'"} <= set(lines)
    assert only(Produced, heard)[0].unit.message == "unit ***"
    assert last(heard)[0].message == "KeyError: '***'"


def test_a_secret_that_cannot_be_resolved_is_fatal_and_nothing_of_the_provider_runs(bench: Bench) -> None:
    credentials = {"token": {"env": "NO_SUCH_VARIABLE_HERE"}}
    heard = bench.run("leak", authorization="main", credentials=credentials)
    ended, _ = last(heard)
    assert (ended.how, ended.message) == (
        "fatal",
        "credentials.token: the environment variable NO_SUCH_VARIABLE_HERE is not set",
    )
    assert only(Output, heard) == []
