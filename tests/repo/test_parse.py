"""What a spec file says, and what is said of one that is wrong: each message at its place."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from reconciler.core.check import check
from reconciler.core.document import Document
from reconciler.errors import Problem
from reconciler.repo.parse import Parsed, locate, parse_file, parse_many, version_of
from tests.specs import AUTHORIZATION, CATALOGUE, CRON_JOB, EVERY_KIND, JOB, STREAM, job_type

HEAD = "apiVersion: reconciler/v1\nkind: Job\nmetadata: {name: a}\nspec:\n  provider: s3\n  jobType: import-csv\n"


def parse(text: str | bytes) -> Parsed:
    return parse_file("a.yaml", text if isinstance(text, bytes) else text.encode(), CATALOGUE)


def problems(text: str | bytes) -> list[str]:
    parsed = parse(text)
    assert not (parsed.documents and parsed.problems) or isinstance(text, str)
    return [str(problem).removeprefix("a.yaml:").replace(" error:", "") for problem in parsed.problems]


def only(text: str | bytes) -> Document:
    parsed = parse(text)
    assert parsed.problems == ()
    (document,) = parsed.documents
    return document


def config(text: str) -> dict[str, object]:
    """The `extra` of a config in which it stands as written."""
    return only(f"{HEAD}  config:\n    bucket: b\n    stream: s\n    extra:\n      x: {text}\n").spec["config"]["extra"]


# --- what is accepted -----------------------------------------------------------------------------------------------


def test_every_kind_is_read_with_its_ordinal_and_line() -> None:
    parsed = parse(EVERY_KIND)
    assert parsed.problems == ()
    assert [(one.kind, one.name, one.ordinal, one.line) for one in parsed.documents] == [
        ("Job", "import-orders", 0, 1),
        ("Authorization", "main-aws", 1, 28),
        ("Stream", "orders", 2, 38),
        ("Audience", "everyone", 3, 44),
        ("Job", "import-customers", 4, 49),
    ]


@pytest.mark.parametrize("text", [JOB, AUTHORIZATION, STREAM, CRON_JOB])
def test_crlf_a_byte_order_mark_and_a_missing_last_newline_change_nothing(text: str) -> None:
    plain = only(text)
    assert only("\ufeff" + text) == plain
    assert only(text.replace("\n", "\r\n")) == plain
    assert only(text.rstrip("\n")) == plain


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "---\n---\n# c\n...\n", "\ufeff", "...\n"])
def test_documents_without_content_are_none(text: str) -> None:
    assert parse(text) == Parsed()


def test_an_empty_document_counts_in_the_ordinal_of_those_after_it() -> None:
    parsed = parse(f"# first\n---\n---\n\n# c\n{STREAM}...\n# between\n---\n{AUTHORIZATION}")
    assert [(one.name, one.ordinal, one.line) for one in parsed.documents] == [("orders", 1, 6), ("main-aws", 2, 14)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("yes", "yes"), ("off", "off"), ("y", "y"),
        ("true", True), ("True", True), ("FALSE", False), ("tRUE", "tRUE"),
        ("", None), ("~", None), ("null", None), ("NULL", None), ("nUll", "nUll"),
        ("012", 12), ("-012", -12), ("+5", 5), ("0", 0), ("0o14", 12), ("0x1F", 31), ("0b11", "0b11"), ("-0x1F", "-0x1F"),
        ("0X1F", "0X1F"), ("1_000", "1_000"), ("12:30:45", "12:30:45"), ("2027-06-30", "2027-06-30"),
        ("2027-06-30T00:00:00Z", "2027-06-30T00:00:00Z"), ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("1e3", 1000.0),
        ("-1.5E-2", -0.015), ("00.5", 0.5), ("1.2.3", "1.2.3"), ("0.1", 0.1), ("9223372036854775807", 2**63 - 1),
        ("inf", "inf"), ("nan", "nan"), ("'012'", "012"), ('"2"', "2"), ("=", "="), ("1,000", "1,000"), ("a b", "a b"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2s_core_schema(text: str, value: object) -> None:
    found = config(text)["x"]
    assert (found, type(found)) == (value, type(value))


def test_an_anchor_may_be_repeated_by_aliases() -> None:
    assert config("{a: &one [1, {b: 2}], c: *one, d: [*one]}") == {
        "x": {"a": [1, {"b": 2}], "c": [1, {"b": 2}], "d": [[1, {"b": 2}]]}
    }


def test_tabs_may_stand_everywhere_but_in_indentation() -> None:
    assert config('"a\\tb"\t# comment') == {"x": "a\tb"}
    assert config("a\tb") == {"x": "a\tb"}


def test_block_texts_keep_their_lines() -> None:
    assert config("|\n        one\n          two\n\n        three") == {"x": "one\n  two\n\nthree\n"}


def test_nesting_of_64_is_accepted_and_of_65_is_not() -> None:
    assert config("[" * 60 + "]" * 60)
    assert problems(f"{HEAD}  config:\n    extra: {{x: {'[' * 61 + ']' * 61}}}\n") == [
        "8:76: lists and mappings are nested deeper than 64"
    ]


# --- what is no YAML, or no spec ------------------------------------------------------------------------------------

BARE = "expected a mapping with apiVersion, kind, metadata and spec, found"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a" * (2**20 + 1), "1:1: expected at most 1 MiB, found 1,048,577 bytes; split the file"),
        (b"a: \xc3\xa9\n\xc3\xa9\xff: 1", "2:2: expected UTF-8, found the byte 0xff"),
        ("a: 1".encode("utf-16"), "1:1: expected UTF-8, found UTF-16; save the file as UTF-8"),
        ("- a", f"1:1: {BARE} a list"),
        ("just text", f"1:1: {BARE} 'just text'"),
        ("--- ~", f"1:5: {BARE} nothing"),
        ("a: b: c", "1:5: not valid YAML: a ': ' cannot stand here; a text that holds one needs quotes, and a key its own line"),
        ("a:\n\tb: 1", "2:1: not valid YAML: a tab cannot indent; use spaces"),
        ("a: |\n  x\n\ty", "3:1: not valid YAML: a tab cannot indent; use spaces"),
        ("a: @x", "1:4: not valid YAML: a value cannot begin with '@'; put it in quotes"),
        ("a: [1, 2", "2:1: not valid YAML: expected ',' or ']' of the list that began at 1:4"),
        ("a: {b: 1\nc: 2\n- ", "2:2: not valid YAML: expected ',' or '}' of the mapping that began at 1:4"),
        ("a: 'x\n", "2:1: not valid YAML: the quotes that began at 1:4 are never closed"),
        ("a: 'x\n---\nb", "2:1: not valid YAML: the quotes that began at 1:4 are never closed"),
        ('a: "\\q"', "1:5: not valid YAML: unknown escape in double quotes; single quotes take a backslash as it is"),
        ("a: 'x' y", "1:8: not valid YAML: expected a key; the indentation fits none above it, or a text needs quotes"),
        ("a:\n  - b\n  c", "4:1: not valid YAML: expected ': ' after the key at 3:3"),
        ("a: [x,,y]", "1:7: not valid YAML: expected a value"),
        ("a: - b", "1:4: not valid YAML: a '- ' cannot stand here; a list begins on its own line"),
        ("{a: 1}\nb: 2", "2:1: not valid YAML: this does not belong to the document above it"),
        ("a: *x", "1:4: an alias (*) of an anchor (&) that is not above it; a value needs quotes here"),
        ("a: &x [*x]", "1:8: an alias (*) within its own anchor (&) never ends"),
        ("[" * 1_000_000, "1:65: lists and mappings are nested deeper than 64"),
        ("- " * 500_000, "1:129: lists and mappings are nested deeper than 64"),
        ("{a: " * 250_000, "1:257: lists and mappings are nested deeper than 64"),
        ("[" + "a," * 120_000 + "]", "1:200002: expected at most 100,000 values in one document"),
        ("--- a\n" * 10_001, "10001:1: expected at most 10,000 documents in one file; split the file"),
    ],
    ids=range(27),
)  # fmt: skip
def test_what_is_no_spec_at_all_is_told_at_its_place(text: str | bytes, expected: str) -> None:
    assert problems(text)[:1] == [expected]


def test_aliases_that_explode_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert problems("\n".join(lines)) == ["4:45: aliases repeat more than 10,000 values"]


def test_aliases_do_not_nest_deeper_than_what_is_written() -> None:
    lines = ["a0: &a0 " + "[" * 30 + "]" * 30]
    lines += ["a1: &a1 " + "[" * 30 + "*a0" + "]" * 30, "a2: [[[[*a1]]]]"]
    assert problems("\n".join(lines)) == ["3:9: lists and mappings are nested deeper than 64"]


@pytest.mark.parametrize(
    ("character", "message"),
    [
        ("\x00", "the character U+0000 cannot stand in a spec; in double quotes it can be written as an escape"),
        ("\x1b", "the character U+001B cannot stand in a spec; in double quotes it can be written as an escape"),
        ("\u2028", "the character U+2028 cannot stand in a spec; in double quotes it can be written as an escape"),
        ("\x85", "the character U+0085 cannot stand in a spec; in double quotes it can be written as an escape"),
        ("\ufeff", "the character U+FEFF cannot stand in a spec; in double quotes it can be written as an escape"),
        ("\r", "a carriage return that ends no line (U+000D) cannot stand in a spec"),
    ],
)
def test_a_character_that_yaml_versions_disagree_on_is_refused_and_the_rest_is_still_read(
    character: str, message: str
) -> None:
    text = STREAM.replace("kind: Stream", f"kind: Stream # {character}x").replace("spec:", "spce:")
    assert problems(text) == [
        "1:1: spec: this field is required, and missing",
        f"2:16: {message}",
        "4:1: spce: unknown field; did you mean 'spec'?",
    ]


def test_a_directive_is_refused() -> None:
    parsed = parse(f"%YAML 1.1\n---\n{STREAM}")
    assert [str(one) for one in parsed.problems] == [
        "a.yaml:1:1: error: directives (%) are not accepted: a spec is YAML 1.2 as it stands"
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("suspend: true\n  suspend: false", ["8:3: spec.suspend: duplicate key, first on line 7"]),
        ("suspend: !!bool true", ["7:12: spec.suspend: tags are not accepted; a value that begins with '!' needs quotes"]),
        ("<<: {suspend: true}", ['7:3: spec."<<": merge keys (<<) are not part of YAML 1.2; write the fields out']),
        ("config: {bucket: b, stream: s, extra: {1: a}}", ["7:42: spec.config.extra: expected a string as a key, found 1; put it in quotes"]),
        ("config: {bucket: b, stream: s, extra: {[a]: a}}", ["7:42: spec.config.extra: expected a string as a key, found a list"]),
        ("config: {bucket: b, stream: s, extra: {a: .inf}}", ["7:45: spec.config.extra.a: expected a finite number; a text needs quotes here"]),
        ("config: {bucket: b, stream: s, extra: {a: 1e999}}", ["7:45: spec.config.extra.a: expected a number that a double can hold"]),
        ("config: {bucket: b, stream: s, extra: {a: 9223372036854775808}}", ["7:45: spec.config.extra.a: expected an integer of at most 64 bits"]),
        ("config: {bucket: b, stream: s, extra: {a: " + "9" * 5000 + "}}", ["7:45: spec.config.extra.a: expected an integer of at most 64 bits"]),
    ],
    ids=range(9),
)  # fmt: skip
def test_what_yaml_allows_and_a_spec_does_not_is_told_at_its_place(lines: str, expected: list[str]) -> None:
    spec = lines if lines.startswith("config") else f"{lines}\n  config: {{bucket: b, stream: s}}"
    assert problems(f"{HEAD}  {spec}\n") == expected


# --- what the catalogue says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("provider: s3", "provider: s4", ["9:13: spec.provider: unknown provider: 's4'; did you mean 's3'?"]),
        ("provider: s3", "provider: mainframe", ["9:13: spec.provider: unknown provider: 'mainframe'; expected disk, hook or s3"]),
        ("import-csv", "import-cvs", ["10:12: spec.jobType: unknown job type of provider 's3': 'import-cvs'; did you mean 'import-csv'?"]),
        ("import-csv", "export-webhook", ["10:12: spec.jobType: provider 's3' has no job type 'export-webhook'; it is one of provider 'hook'"]),
        ("bucket: shop-exports", "bukcet: shop-exports", ["23:5: spec.config.bucket: this field is required, and missing", "23:5: spec.config.bukcet: unknown field; did you mean 'bucket'?"]),
        ("prefix: orders/", "prefix: 5", ["24:13: spec.config.prefix: expected a string, found 5"]),
        ("prefix: orders/", "maxRejects: -1", ["24:17: spec.config.maxRejects: expected a number of at least 0, found -1"]),
        ("prefix: orders/", "maxRejects: many", ["24:17: spec.config.maxRejects: expected an integer, found 'many'"]),
        ("prefix: orders/", "compression: gzp", ["24:18: spec.config.compression: expected none, gzip or zstd, found 'gzp'; did you mean 'gzip'?"]),
        ("prefix: orders/", "tags: [a, b, 1]", ["24:18: spec.config.tags[2]: expected a string, found 1"]),
        ("prefix: orders/", "tags: [a, a]", ["24:11: spec.config.tags: expected a list in which nothing stands twice, found a list"]),
        ("prefix: orders/", "page: {size: x, by: offst, z: 1}", ["24:18: spec.config.page.size: expected an integer, found 'x'", "24:25: spec.config.page.by: expected offset, found 'offst'; did you mean 'offset'?", "24:32: spec.config.page.z: unknown field"]),
        ("prefix: orders/", "header: no", ["24:13: spec.config.header: expected true or false, found 'no'"]),
        ("timestampField: ordered_at", "timestampField: [a]", ["26:21: spec.config.timestampField: expected a string or nothing, found a list"]),
        ("bucket: shop-exports", "bucket: ''", ["23:13: spec.config.bucket: expected a text that is not empty, found ''"]),
        ("[import-customers]", "[import-orders]", ["18:15: spec.dependsOn[0]: a job cannot depend on itself"]),
        ("jobType: import-csv\n  authorization: main-aws", "jobType: import-private", ["9:3: spec.authorization: job type 'import-private' needs an authorization, and none is named"]),
        ("provider: s3\n  jobType: import-csv", "provider: disk\n  jobType: import-files", ["11:3: spec.authorization: job type 'import-files' takes no authorization"]),
    ],
    ids=range(18),
)  # fmt: skip
def test_a_job_is_held_to_its_provider_and_job_type(old: str, new: str, expected: list[str]) -> None:
    assert old in JOB
    assert problems(JOB.replace(old, new, 1)) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("access-key", "access-kye", ["6:11: spec.method: unknown method of provider 's3': 'access-kye'; did you mean 'access-key'?"]),
        ("provider: s3", "provider: disk", ["6:11: spec.method: unknown method of provider 'disk': 'access-key'; there is none"]),
        ("accessKeyId:", "accesKeyId:", ["8:5: spec.credentials: unknown credential; method 'access-key' takes accessKeyId and secretAccessKey; did you mean 'accessKeyId'?", "8:5: spec.credentials.accessKeyId: this credential is required by method 'access-key', and missing"]),
        ("method: access-key", "method: none", ["8:5: spec.credentials: unknown credential; method 'none' takes none", "9:5: spec.credentials: unknown credential; method 'none' takes none"]),
        ("{env: AWS_ACCESS_KEY_ID}", "hunter2", ["8:18: spec.credentials.accessKeyId: expected {env: NAME}, {file: PATH} or {exec: [COMMAND, …]}, found a value; a secret never stands in a spec"]),
        ("{env: AWS_ACCESS_KEY_ID}", "!hunter2 x", ["8:18: spec.credentials.accessKeyId: tags are not accepted; a value that begins with '!' needs quotes"]),
    ],
    ids=range(6),
)  # fmt: skip
def test_an_authorization_is_held_to_its_method(old: str, new: str, expected: list[str]) -> None:
    shown = [
        line.replace("spec.credentials.secretAccessKey", "spec.credentials") if "none'" in line else line
        for line in problems(AUTHORIZATION.replace(old, new, 1))
    ]
    assert [
        line.replace("spec.credentials.accessKeyId: unknown", "spec.credentials: unknown") for line in shown
    ] == expected
    assert "hunter2" not in "".join(shown)


def test_a_header_is_told_what_it_lacks() -> None:
    assert problems("kind: Jub\nmetadata: {title: 5}\n") == [
        "1:1: apiVersion: this field is required, and missing",
        "1:7: kind: expected Job, Authorization, Stream or Audience, found 'Jub'; did you mean 'Job'?",
        "2:11: metadata.name: this field is required, and missing",
        "2:19: metadata.title: expected a string, found 5; put it in quotes",
    ]
    assert problems("apiVersion: reconciler/v2\nmetadata: {name: a}\nspecs: 1") == [
        "1:1: kind: this field is required, and missing; expected Job, Authorization, Stream or Audience",
        "1:13: apiVersion: expected reconciler/v1, found 'reconciler/v2'; did you mean 'reconciler/v1'?",
        "3:1: specs: unknown field; did you mean 'spec'?",
    ]


def test_every_error_of_every_document_is_told_in_one_go_and_in_order() -> None:
    broken = (
        JOB.replace("suspend: false", "suspend: maybe")
        .replace("timeout", "timeut")
        .replace("bucket: shop-exports", "bucket: 5")
    )
    parsed = parse(f"{broken}---\na: [\n---\n{STREAM}---\n{AUTHORIZATION.replace('access-key', 'basic')}")
    assert [(one.kind, one.name) for one in parsed.documents] == [("Stream", "orders")]
    assert [str(one) for one in parsed.problems] == [
        "a.yaml:13:12: error: spec.suspend: expected true or false, found 'maybe'",
        "a.yaml:16:3: error: spec.timeut: unknown field; did you mean 'timeout'?",
        "a.yaml:23:13: error: spec.config.bucket: expected a string, found 5",
        "a.yaml:29:1: error: not valid YAML: expected a value",
        "a.yaml:41:11: error: spec.method: unknown method of provider 's3': 'basic'; expected access-key or none",
    ]


# --- who is meant ---------------------------------------------------------------------------------------------------


def test_the_problems_of_a_document_name_it() -> None:
    (problem,) = parse(JOB.replace("suspend: false", "suspend: no")).problems
    assert (problem.kind, problem.name) == ("Job", "import-orders")


@pytest.mark.parametrize(
    "text",
    [
        JOB.replace("suspend: false", "suspend: 'false"),
        f"{JOB}{CRON_JOB}",
        JOB.replace("name: import-orders", "name: Import-Orders"),
        JOB.replace("kind: Job", "kind: Jop"),
        JOB.replace("kind: Job\n", ""),
        f"{JOB}#\x00\n",
        "- 1",
    ],
    ids=["syntax", "a lost ---", "unsound name", "unknown kind", "no kind", "forbidden character", "a list"],
)
def test_where_it_is_not_sure_which_documents_a_file_declares_its_problems_name_none(text: str) -> None:
    parsed = parse(text)
    assert parsed.documents == ()
    assert {(one.kind, one.name) for one in parsed.problems} == {("", "")}


def test_a_file_with_very_many_problems_tells_a_thousand_and_that_there_are_more() -> None:
    parsed = parse("---\n".join(["kind: Stream\n"] * 600))
    assert len(parsed.problems) == 1001
    assert str(parsed.problems[-1]) == "a.yaml:667:1: error: and 800 more problems from here on"


# --- its plain form, many files, places -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [EVERY_KIND, f"{STREAM}---\nkind: Job", "a: [", JOB.replace("Import orders", "Импорт \U0001f600")]
)
def test_what_was_parsed_survives_its_json_form(text: str) -> None:
    assert Parsed.from_json(parse(text).to_json()) == parse(text)


def test_reading_the_json_form_imports_no_model_and_no_parser() -> None:
    code = (
        "import sys; from reconciler.repo.parse import Parsed; Parsed.from_json(sys.stdin.read());"
        "print([name for name in ('pydantic', 'yaml', 'ryaml', 'jsonschema', 'jsonschema_rs') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], input=parse(EVERY_KIND).to_json(), capture_output=True, text=True, check=True)  # fmt: skip
    assert ran.stdout == "[]\n"


def test_a_valid_file_is_parsed_without_the_careful_libraries() -> None:
    code = (
        "import sys; from tests.specs import *; from reconciler.repo.parse import parse_file;"
        "assert len(parse_file('a', EVERY_KIND.encode(), CATALOGUE).documents) == 5;"
        "print([name for name in ('yaml', 'jsonschema', 'duckdb', 'pyarrow', 'httpx') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_the_version_follows_what_the_catalogue_says_of_specs() -> None:
    from dataclasses import replace

    s3 = replace(CATALOGUE["s3"], job_types=(job_type("import-csv", {}),))
    assert version_of(CATALOGUE) == version_of(dict(CATALOGUE))
    assert version_of(CATALOGUE) != version_of({**CATALOGUE, "s3": s3})


def test_many_files_are_parsed_by_processes_as_one_alone_does_it() -> None:
    files = [(f"{index:03}.yaml", f"{EVERY_KIND}# {index}\n".encode()) for index in range(150)]
    files[7] = ("007.yaml", b"a: [")
    files[8] = ("008.yaml", b"\xff")
    alone = parse_many(files, CATALOGUE, jobs=1)
    assert parse_many(files, CATALOGUE, jobs=3) == alone
    assert [bool(one.problems) for one in alone] == [index in (7, 8) for index in range(150)]


def test_the_share_of_a_process_that_dies_is_parsed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.repo import parse_fast

    parent, original = os.getpid(), parse_fast.parse_chunk

    def dies(chunk: object, path: str, rules: object) -> Document | None:
        if os.getpid() != parent and path == "011.yaml":
            os._exit(9)
        return original(chunk, path, rules)  # type: ignore[arg-type]

    monkeypatch.setattr(parse_fast, "parse_chunk", dies)
    files = [(f"{index:03}.yaml", (EVERY_KIND * 2).replace("...", "").encode()) for index in range(60)]
    assert parse_many(files, CATALOGUE, jobs=2) == parse_many(files, CATALOGUE, jobs=1)


def test_a_problem_across_files_is_led_to_its_field() -> None:
    text = JOB.replace("[import-customers]", "\n    - zz-missing\n    - aa-missing").replace(
        "stream: orders", "stream: nothing"
    )
    content = f"---\n# c\n{AUTHORIZATION}---\n{text}".encode()
    parsed = parse_file("x/a.yaml", content, CATALOGUE)
    found = check(parsed.documents, CATALOGUE)
    assert {one.line for one in found} == {13}
    assert [str(one) for one in locate(found, {"x/a.yaml": content})] == [
        "x/a.yaml:31:7: error: spec.dependsOn[0]: unknown job 'zz-missing'",
        "x/a.yaml:32:7: error: spec.dependsOn[1]: unknown job 'aa-missing'",
        "x/a.yaml:39:13: error: spec.config.stream: unknown stream 'nothing'",
    ]


def test_a_problem_whose_file_has_changed_since_stays_where_it_was() -> None:
    problem = Problem("a.yaml", 13, 1, "spec.authorization", "unknown authorization 'x'", "Job", "a")
    assert locate([problem], {}) == [problem]
    assert locate([problem], {"a.yaml": b"\xff"}) == [problem]
    assert locate([problem], {"a.yaml": b"a: 1"}) == [problem]
    assert locate([problem], {"a.yaml": b"\n" * 12 + b"a: ["}) == [problem]


def test_a_credential_that_a_method_may_take_as_well_is_taken_and_not_required() -> None:
    from reconciler.providers import http

    text = (
        "apiVersion: reconciler/v1\nkind: Authorization\nmetadata: {name: a}\n"
        "spec: {provider: http, method: bearer, credentials: {token: {env: T}, signingSecret: {env: S}}}\n"
    )
    catalogue = {"http": http.PROVIDER}
    assert parse_file("a.yaml", text.encode(), catalogue).problems == ()
    assert parse_file("a.yaml", text.replace(", signingSecret: {env: S}", "").encode(), catalogue).problems == ()
    (problem,) = parse_file("a.yaml", text.replace("signingSecret", "signingSecrets").encode(), catalogue).problems
    assert problem.message == (
        "unknown credential; method 'bearer' takes token and signingSecret; did you mean 'signingSecret'?"
    )
