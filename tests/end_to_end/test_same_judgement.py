"""What `validate` accepts is exactly what a pass accepts, and neither ever answers with a traceback: over thousands of
broken specs in one tree, good ones among them."""

from __future__ import annotations

import json
import random
from pathlib import Path

from reconciler.runner.local import LocalRunner
from tests.end_to_end.daemon import reconcile
from tests.end_to_end.inprocess import World
from tests.end_to_end.world import rows_of

FILES = 1_500

STREAM = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: orders}\nspec: {}\n"
SPEC = """# of shop {number}
apiVersion: reconciler/v1
kind: Job
metadata:
  name: job-{number}
  title: "Import {number}"
  labels: {{team: growth}}
spec:
  provider: files
  jobType: import-csv
  suspend: true
  schedule: {{every: 1h30m}}
  retry: {{initial: 30s, factor: 2, max: 30m}}
  config:
    path: in/{number}-*.csv
    stream: orders
    maxRejects: 3
---
apiVersion: reconciler/v1
kind: Authorization
metadata: {{name: auth-{number}}}
spec: {{provider: http, method: bearer, credentials: {{token: {{env: TOKEN}}}}}}
"""


def mutated(text: str, rng: random.Random) -> bytes:
    """One to three random edits of the bytes: cut, doubled, swapped, replaced by something awkward."""
    content = bytearray(text.encode())
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(content))
        match rng.randrange(5):
            case 0:
                del content[at : at + rng.randint(1, 12)]
            case 1:
                content[at:at] = content[at : at + rng.randint(1, 40)]
            case 2:
                content[at : at + 1] = rng.choice(
                    [b"\t", b"\x00", b"\xff", b"&a ", b"*a", b"!!x ", b"{", b"]", b"- ", b"\r"]
                )
            case 3:
                lines = content.splitlines(keepends=True)
                one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
                lines[one], lines[other] = lines[other], lines[one]
                content = bytearray(b"".join(lines))
            case _:
                content[at:at] = rng.choice([b"no", b"12:30:45", b"~", b"'", b'"', b": ", b"\n", b"---\n", b"0x1F"])
        if not content:
            content = bytearray(b"#")
    return bytes(content)


def test_validate_and_a_pass_judge_thousands_of_broken_specs_alike(tmp_path: Path, runner: LocalRunner) -> None:
    rng = random.Random(20_261_121)
    root = tmp_path / "jobs"
    root.mkdir()
    (root / "stream.yaml").write_text(STREAM)
    for number in range(FILES):
        text = SPEC.format(number=number)
        (root / f"{number:04d}.yaml").write_bytes(text.encode() if number % 10 == 0 else mutated(text, rng))

    judged = reconcile("validate", "-o", "json", "--root", str(root))
    assert judged.returncode == 1
    assert "Traceback" not in judged.stderr
    report = World(root, runner).live()
    assert report is not None

    def place(path: str, line: int, column: int, field: str, message: str) -> tuple[object, ...]:
        return (Path(path).name, line, column, field, message)

    said = {
        place(one["path"], one["line"], one["column"], one["field"], one["message"])
        for one in json.loads(judged.stdout)["errors"]
    }
    found = {place(one.path, one.line, one.column, one.field, one.message) for one in report.problems}
    assert said == found
    assert all(line >= 1 and column >= 1 and message for _, line, column, _, message in found)  # type: ignore[operator]
    created = {name for (name,) in rows_of(root / ".reconciler", "SELECT name FROM resource WHERE kind = 'Job'")}
    assert {f"job-{number}" for number in range(0, FILES, 10)} <= created
