"""One target in this process, until the time is over or something is found. `python -m tests.fuzz` starts it."""

from __future__ import annotations

import hashlib
import importlib
import random
import sys
import time
from pathlib import Path
from typing import Any, Final

from tests.fuzz.law import LIMIT_S, MAX_BYTES, SECRET, Target, judge, limit_memory
from tests.fuzz.seeds import seeds

#: What a random mutation puts in.
PIECES: Final = (
    b"", b" ", b"\n", b"\r\n", b"\t", b"\0", b'"', b"'", b"{", b"}", b"[", b"]", b":", b": ", b",", b"-", b"- ", b"#", b"&a", b"*a",
    b"!!x", b"|", b">", b"<<", b"%", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\xef\xbb\xbf", b"0", b"-1", b"1e400", b"9" * 400, b"null",
    b"true", b"NaN", b"[" * 100, b"(" * 100, b"a" * 1000, SECRET.encode(), b"$", b"*/0", b"L", b"@", b"1h", b"\xe2\x80\xae",
)  # fmt: skip


def by_atheris(name: str, seconds: int, corpus: Path, findings: Path) -> None:
    """Never returns: libFuzzer ends the process."""
    atheris: Any = importlib.import_module("atheris")  # of the extra `fuzz`; the suite needs none
    with atheris.instrument_imports(include=["reconciler"]):
        targets = importlib.import_module("tests.fuzz.targets")
    target: Target = targets.TARGETS[name]
    _warm_up(target, name, atheris)
    limit_memory()

    def one(data: bytes) -> None:
        wrong = judge(target, data)
        if wrong:
            _keep(name, data, findings)
            print(f"BROKEN by {data[:200]!r}\n{wrong}", file=sys.stderr, flush=True)
            raise RuntimeError("the law is broken")

    folder = [str(seeds(name)[0].parent)] if seeds(name) else []
    options = [
        f"-max_total_time={seconds}", f"-max_len={MAX_BYTES // 4}", f"-timeout={3 * LIMIT_S}", "-print_final_stats=1",
        f"-artifact_prefix={corpus.parent}/crash-{name}-", "-rss_limit_mb=0",
    ]  # fmt: skip
    findings.mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], *options, str(corpus), *folder], one)
    atheris.Fuzz()


def _warm_up(target: Target, name: str, atheris: Any) -> None:
    """What a target imports late is imported now, and instrumented."""
    with atheris.instrument_imports(include=["reconciler"]):
        for path in seeds(name)[:20]:
            judge(target, path.read_bytes())


def at_random(name: str, seconds: int, corpus: Path, findings: Path) -> int:
    """The exit code: 1 where something was found."""
    from tests.fuzz.targets import TARGETS

    rng = random.Random(time.monotonic_ns())
    pool = [path.read_bytes() for path in (*seeds(name), *sorted(corpus.iterdir()))] or [b""]
    for data in pool:
        judge(TARGETS[name], data)
    limit_memory()
    until_s, runs = time.monotonic() + seconds, 0
    while time.monotonic() < until_s:
        data = mutated(rng, pool)
        runs += 1
        wrong = judge(TARGETS[name], data)
        if wrong:
            _keep(name, data, findings)
            print(f"number_of_executed_units: {runs}\nBROKEN by {data[:200]!r}\n{wrong}", file=sys.stderr)
            return 1
    print(f"number_of_executed_units: {runs}")
    return 0


def mutated(rng: random.Random, pool: list[bytes]) -> bytes:
    """One of the pool with a few pieces cut out, put in, doubled, or taken from another."""
    data = bytearray(rng.choice(pool))
    for _ in range(rng.randint(1, 6)):
        at, size = rng.randint(0, len(data)), rng.choice((0, 0, 1, 2, 8, 40))
        match rng.randrange(4):
            case 0:
                data[at : at + size] = rng.choice(PIECES)
            case 1:
                data[at:at] = data[at : at + 20]
            case 2:
                other = rng.choice(pool)
                begin = rng.randint(0, len(other))
                data[at : at + size] = other[begin : begin + rng.randint(0, 60)]
            case _:
                data[at : at + 1] = bytes([rng.randrange(256)])
    return bytes(data[:MAX_BYTES])


def _keep(name: str, data: bytes, findings: Path) -> None:
    findings.mkdir(parents=True, exist_ok=True)
    (findings / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)


def main(name: str, seconds: str, corpus: str, findings: str) -> int:
    try:
        importlib.import_module("atheris")
    except ImportError:
        return at_random(name, int(seconds), Path(corpus), Path(findings))
    by_atheris(name, int(seconds), Path(corpus), Path(findings))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
