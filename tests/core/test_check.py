"""The rules across files."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.check import check, knots
from reconciler.core.document import Document
from tests.specs import CATALOGUE


def job(name: str, path: str = "", *, line: int = 1, renamed_from: str = "", **spec: Any) -> Document:
    spec = {"provider": "s3", "jobType": "import-csv", "config": {"bucket": "b", "stream": "orders"}, **spec}
    return Document(kind="Job", name=name, path=path or f"{name}.yaml", line=line, spec=spec, renamed_from=renamed_from)


def authorization(name: str, provider: str = "s3") -> Document:
    return Document(kind="Authorization", name=name, path="auth.yaml", spec={"provider": provider, "method": "none"})


def stream(name: str, path: str = "streams.yaml", line: int = 1) -> Document:
    return Document(kind="Stream", name=name, path=path, line=line)


ORDERS = stream("orders")


def messages(documents: list[Document], **known: Any) -> list[str]:
    return [str(problem) for problem in check(documents, CATALOGUE, **known)]


def test_documents_that_refer_to_what_is_declared_have_no_problem() -> None:
    one = job("one", authorization="main", dependsOn=["two"])
    assert messages([one, job("two"), authorization("main"), ORDERS]) == []


def test_the_same_name_in_two_kinds_is_no_clash() -> None:
    assert messages([job("orders"), ORDERS, authorization("orders")]) == []


def test_a_name_declared_twice_is_a_problem_at_both_places_and_names_the_other() -> None:
    problems = check([job("a", "x.yaml", line=3), job("a", "y.yaml", line=9), ORDERS], CATALOGUE)
    assert [str(one) for one in problems] == [
        "x.yaml:3:1: error: metadata.name: Job 'a' is declared twice; the other is at y.yaml:9",
        "y.yaml:9:1: error: metadata.name: Job 'a' is declared twice; the other is at x.yaml:3",
    ]
    assert {(one.kind, one.name) for one in problems} == {("Job", "a")}


def test_an_unknown_authorization_is_told_with_the_name_that_is_close() -> None:
    assert messages([job("a", authorization="main-aw"), authorization("main-aws"), ORDERS]) == [
        "a.yaml:1:1: error: spec.authorization: unknown authorization 'main-aw'; did you mean 'main-aws'?"
    ]


def test_an_authorization_of_another_provider_is_refused() -> None:
    assert messages([job("a", authorization="main"), authorization("main", "hook"), ORDERS]) == [
        "a.yaml:1:1: error: spec.authorization: expected an authorization of provider 's3', found 'main' of provider 'hook'"
    ]


def test_an_unknown_dependency_is_told_with_its_number_and_the_name_that_is_close() -> None:
    assert messages([job("a", dependsOn=["b", "import-orders"]), job("b"), job("import-order"), ORDERS]) == [
        "a.yaml:1:1: error: spec.dependsOn[1]: unknown job 'import-orders'; did you mean 'import-order'?"
    ]


def test_an_unknown_stream_is_told_at_the_config_field_that_names_it() -> None:
    export = job("out", provider="hook", jobType="export-webhook", config={"stream": "order", "url": "http://x"})
    assert messages([export, job("a", config={"bucket": "b", "stream": "nothing-like-it"}), ORDERS]) == [
        "a.yaml:1:1: error: spec.config.stream: unknown stream 'nothing-like-it'",
        "out.yaml:1:1: error: spec.config.stream: unknown stream 'order'; did you mean 'orders'?",
    ]


def test_a_reference_to_a_document_that_is_invalid_itself_is_no_second_problem() -> None:
    broken = {("Authorization", "main"), ("Stream", "orders"), ("Job", "b")}
    assert messages([job("a", authorization="main", dependsOn=["b"])], broken=broken) == []


def test_what_the_record_keeps_can_be_referred_to_and_is_judged_by_its_provider() -> None:
    kept = [authorization("main"), authorization("other", "hook"), ORDERS]
    assert messages([job("a", authorization="main")], kept=kept) == []
    assert len(messages([job("a", authorization="other")], kept=kept)) == 1


def test_a_cycle_is_printed_and_invalidates_each_of_its_jobs_but_not_those_that_wait_for_it() -> None:
    documents = [
        job("a", dependsOn=["b"]),
        job("b", dependsOn=["c"]),
        job("c", dependsOn=["a"]),
        job("d", dependsOn=["a"]),
    ]
    assert messages([*documents, ORDERS]) == [
        f"{name}.yaml:1:1: error: spec.dependsOn: jobs wait for each other: a -> b -> c -> a" for name in "abc"
    ]


def test_a_cycle_through_a_job_that_the_record_keeps_is_found() -> None:
    found = check([job("a", dependsOn=["b"]), ORDERS], CATALOGUE, kept=[job("b", dependsOn=["a"])])
    assert [(one.name, one.message) for one in found] == [("a", "jobs wait for each other: a -> b -> a")]


def test_a_long_cycle_is_cut_in_the_middle() -> None:
    size = 50
    documents = [job(f"j{index:02}", dependsOn=[f"j{(index + 1) % size:02}"]) for index in range(size)]
    problems = check([*documents, ORDERS], CATALOGUE)
    assert len(problems) == size
    assert problems[0].message.startswith("jobs wait for each other: j00 -> j01 -> ")
    assert problems[0].message.endswith("j09 -> … (40 more) -> j00")


def test_a_renamed_job_must_have_left_its_old_name() -> None:
    assert messages([job("new", renamed_from="old"), job("old", line=7), ORDERS]) == [
        "new.yaml:1:1: error: metadata.renamedFrom: 'old' is still declared at old.yaml:7; a renamed document leaves its name"
    ]
    assert messages([job("new", renamed_from="old"), ORDERS], broken={("Job", "old")}) == [
        "new.yaml:1:1: error: metadata.renamedFrom: 'old' is still declared, in a document that is invalid; "
        "a renamed document leaves its name"
    ]


def test_only_one_job_can_be_the_heir_of_a_name() -> None:
    assert messages([job("x", renamed_from="old"), job("y", renamed_from="old"), ORDERS]) == [
        "x.yaml:1:1: error: metadata.renamedFrom: 'old' became 'y' too, at y.yaml:1; only one can be its heir",
        "y.yaml:1:1: error: metadata.renamedFrom: 'old' became 'x' too, at x.yaml:1; only one can be its heir",
    ]


def test_problems_come_in_order_of_file_and_place() -> None:
    documents = [
        job("z", "b.yaml", line=5, authorization="no"),
        job("y", "b.yaml", authorization="no"),
        job("x", "a.yaml", authorization="no"),
    ]
    assert [(one.path, one.line) for one in check([*documents, ORDERS], CATALOGUE)] == [
        ("a.yaml", 1),
        ("b.yaml", 1),
        ("b.yaml", 5),
    ]


@given(st.dictionaries(st.sampled_from("abcdefg"), st.lists(st.sampled_from("abcdefg"), max_size=4), max_size=7))
def test_the_knots_of_a_graph_are_the_names_that_reach_each_other(graph: dict[str, list[str]]) -> None:
    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        edge = list(graph.get(start, ()))
        while edge:
            one = edge.pop()
            if one not in seen:
                seen.add(one)
                edge += graph.get(one, ())
        return seen

    reached = {name: reach(name) for name in "abcdefg"}
    expected = {
        frozenset(other for other in reached if other in reached[name] and name in reached[other])
        for name in reached
        if name in reached[name]
    }
    assert {frozenset(one) for one in knots(graph)} == {one for one in expected if len(one) > 1}


def test_a_chain_of_ten_thousand_jobs_and_as_many_mistakes_are_checked_without_recursion_or_squares() -> None:
    size = 10_000
    chain = [job(f"job-{index:05}", dependsOn=[f"job-{index + 1:05}", f"jbo-{index:05}"]) for index in range(size)]
    began_s = time.process_time()
    problems = check([*chain, job(f"job-{size:05}"), ORDERS], CATALOGUE)
    assert len(problems) == size
    assert time.process_time() - began_s < 20


@pytest.mark.parametrize("config", [{}, {"bucket": "b"}, {"bucket": "b", "stream": ""}])
def test_a_config_that_names_no_stream_refers_to_none(config: dict[str, Any]) -> None:
    assert messages([job("a", config=config)]) == []
