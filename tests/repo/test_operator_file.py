"""The operator's settings: read by the same door as a spec, each error at its place, and cached by content."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.errors import SpecInvalid
from reconciler.repo.operator_file import CACHE_NAME, read_operator_file


def problems_of(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "reconciler.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SpecInvalid) as caught:
        read_operator_file(file, "../reconciler.yaml", None)
    return [str(problem) for problem in caught.value.problems]


def test_a_file_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert read_operator_file(tmp_path / "reconciler.yaml", "reconciler.yaml", None) == {}


@pytest.mark.parametrize("text", ["", "# nothing\n", "apiVersion: reconciler/v1\nkind: Settings\n", "{}\n"])
def test_a_file_without_settings_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "reconciler.yaml").write_text(text, encoding="utf-8")
    assert read_operator_file(tmp_path / "reconciler.yaml", "reconciler.yaml", None) == {}


def test_values_are_by_the_names_that_the_file_uses(tmp_path: Path) -> None:
    (tmp_path / "reconciler.yaml").write_text("slots: 16\nallowPaths: [/data]\nallowExec: true\n", encoding="utf-8")
    values = read_operator_file(tmp_path / "reconciler.yaml", "reconciler.yaml", None)
    assert values == {"allowExec": True, "allowPaths": ["/data"], "slots": 16}


def test_every_error_is_told_at_its_place(tmp_path: Path) -> None:
    assert problems_of(tmp_path, "slots: many\nalowExec: true\nmemory: 1\n") == [
        "../reconciler.yaml:1:8: error: slots: expected an integer, found 'many'",
        "../reconciler.yaml:2:1: error: alowExec: unknown field; did you mean 'allowExec'?",
        "../reconciler.yaml:3:9: error: memory: expected a number of at least 64, found 1",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "../reconciler.yaml:1:1: error: expected a mapping, found a list"),
        ("slots: 2\n---\nslots: 3\n", "../reconciler.yaml:2:1: error: expected one document, found another"),
        ("slots: 2\nslots: 3\n", "../reconciler.yaml:2:1: error: slots: duplicate key, first on line 1"),
        (
            "slots: !!int 3\n",
            "../reconciler.yaml:1:8: error: slots: tags are not accepted; a value that begins with '!' needs quotes",
        ),
        ("slots: [\n", "../reconciler.yaml:2:1: error: not valid YAML: expected a value"),
        (
            "a: \x00\n",
            "../reconciler.yaml:1:4: error: the character U+0000 cannot stand in a spec; in double quotes it can be written as an escape",
        ),
    ],
)
def test_what_is_no_settings_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert message in problems_of(tmp_path, text)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_bytes(b"slots: \xff\n")
    with pytest.raises(SpecInvalid, match=r"reconciler\.yaml:1:8: error: expected UTF-8, found the byte 0xff"):
        read_operator_file(file, "reconciler.yaml", None)


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reconciler.yaml").mkdir()
    with pytest.raises(SpecInvalid, match="cannot be read: Is a directory"):
        read_operator_file(tmp_path / "reconciler.yaml", "reconciler.yaml", None)


def test_an_unchanged_file_is_read_from_the_cache_and_a_changed_one_is_not(tmp_path: Path) -> None:
    file, cache = tmp_path / "reconciler.yaml", tmp_path / "cache"
    cache.mkdir()
    file.write_text("slots: 16\n", encoding="utf-8")
    assert read_operator_file(file, "reconciler.yaml", cache) == {"slots": 16}
    kept = json.loads((cache / CACHE_NAME).read_text("utf-8"))
    (cache / CACHE_NAME).write_text(json.dumps(kept | {"values": {"slots": 17}}), "utf-8")
    assert read_operator_file(file, "reconciler.yaml", cache) == {"slots": 17}, "the cache was asked"
    file.write_text("slots: 18\n", encoding="utf-8")
    assert read_operator_file(file, "reconciler.yaml", cache) == {"slots": 18}
    (cache / CACHE_NAME).write_text("[broken", "utf-8")
    assert read_operator_file(file, "reconciler.yaml", cache) == {"slots": 18}


def test_a_secret_is_a_reference_and_a_literal_one_is_not_repeated(tmp_path: Path) -> None:
    text = "hooks:\n  push:\n    secret: hunter2hunter2\n"
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith("../reconciler.yaml:3:13: error: hooks.push.secret: ")
    assert "hunter2" not in problem
    (tmp_path / "reconciler.yaml").write_text("hooks: {push: {secret: {env: PUSH_SECRET}}}\n", encoding="utf-8")
    values = read_operator_file(tmp_path / "reconciler.yaml", "reconciler.yaml", None)
    assert values == {"hooks": {"push": {"secret": {"env": "PUSH_SECRET"}}}}


@pytest.mark.parametrize("keys", ["ann.asc", "[ann.asc]", "{file: ann.asc}", "[{file: ann.asc}]"])
def test_keys_are_named_one_or_many_as_paths_or_files(tmp_path: Path, keys: str) -> None:
    (tmp_path / "reconciler.yaml").write_text(f"verify: {{keys: {keys}}}\n", encoding="utf-8")
    values = read_operator_file(tmp_path / "reconciler.yaml", "reconciler.yaml", None)
    assert values == {"verify": {"keys": ["ann.asc"]}}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "[5]",
            "11: error: verify.keys[0]: expected a public key or the path of a file of keys, found 5; put it in quotes",
        ),
        (
            "[{text: x}]",
            "11: error: verify.keys[0]: expected a public key or the path of a file of keys, found a mapping",
        ),
        (
            "['']",
            "11: error: verify.keys[0]: expected a public key, or the path of a file of keys, of 1 to 65,536 characters",
        ),
    ],
)
def test_what_is_no_key_is_told_at_its_place(tmp_path: Path, keys: str, message: str) -> None:
    (problem,) = problems_of(tmp_path, f"verify:\n  keys: {keys}\n")
    assert problem == f"../reconciler.yaml:2:{message.replace('11:', '10:', 1)}"


@pytest.mark.parametrize(
    ("repo", "message"),
    [
        ("{url: 'https://ann:hunter2@host/jobs'}", "repo.url: the repository's URL holds a user or a secret"),
        ("{url: 'https://host/jobs', credentials: {token: hunter2}}", "repo.credentials.token: expected {env: NAME}"),
        ("{url: 'https://host/jobs', credentials: {token: {env: A}, sshKey: {env: B}}}",
         "repo.credentials: expected one of token, password, bearer or sshKey, found sshKey and token"),
        ("{url: 'https://host/jobs', credentials: {password: {env: A}}}",
         "repo.credentials.password: a password needs the username that it is for"),
        ("{url: 'https://host/jobs', interval: 10ms}", "repo.interval: expected a duration from 1s to 1d, found '10ms'"),
        ("{branch: main}", "repo.url: this field is required, and missing"),
    ],
)  # fmt: skip
def test_a_repository_that_cannot_be_followed_is_told_at_its_place(tmp_path: Path, repo: str, message: str) -> None:
    (problem,) = problems_of(tmp_path, f"repo: {repo}\n")
    assert message in problem
    assert "hunter2" not in problem
