"""Every input of the corpus gives a value or one of our errors, with its place. Those that once did not are among them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.__main__ import main
from tests.fuzz.law import SECRET, demand_sound, judge
from tests.fuzz.one import mutated
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_every_input_of_the_corpus_gives_a_value_or_an_error_with_its_place(target: str) -> None:
    inputs = seeds(target)
    assert inputs
    wrong = {path.name: found for path in inputs if (found := judge(TARGETS[target], path.read_bytes()))}
    assert not wrong, "\n".join(wrong.values())


def test_the_law_is_broken_by_another_exception_a_second_line_a_secret_and_silence() -> None:
    def fails(_: bytes) -> None:
        raise KeyError("place")

    assert "KeyError: 'place'" in judge(fails, b"")
    for text, says in (("", "says nothing"), ("a\nb", "more than one line"), (f"found {SECRET}", "shows a secret")):
        assert says in judge(lambda _, text=text: demand_sound(text), b"")  # type: ignore[misc]
    assert judge(lambda _: demand_sound("expected a duration"), b"") == ""


def test_mutations_come_from_the_pool_and_stay_within_bounds() -> None:
    rng = random.Random(7)
    pool = [b"0 3 * * *", b"@daily"]
    made = {mutated(rng, pool) for _ in range(200)}
    assert len(made) > 100
    assert max(map(len, made)) < 5_000


def test_an_unknown_target_is_named_with_those_that_there_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        main(["yaml", "--minutes", "0", "--findings", str(tmp_path)])
    assert "there is no target 'yaml'; there are answers, bodies, cron, csv" in capsys.readouterr().err
