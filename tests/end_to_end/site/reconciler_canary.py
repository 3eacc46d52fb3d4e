"""A provider of someone else that is careless with its secret."""

from __future__ import annotations

import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping

from reconciler.core.provider import Context, Intent, JobType, Method, Provider, Reject, Secret, Unit
from reconciler.errors import Fatal, RateLimited, Retriable
from tests.end_to_end.clothing import CLOTHING

#: How a line of a secret may be written wherever lines are.
ESCAPED = ("raw", "json", "json-utf8", "percent", "percent-path", "form", "html", "repr", "lower", "upper")
ERRORS = {"Fatal": Fatal, "Retriable": Retriable, "RateLimited": RateLimited, "KeyError": KeyError}


def spill(context: Context) -> Iterator[Unit]:
    """Says its secret wherever it may say something, in every clothing, and ends with it."""
    secret = context.credentials["token"].reveal()
    worn = {name: wear(secret) for name, wear in CLOTHING.items()}
    for name, text in worn.items():
        print(f"{name}: {text}")
        print(f"{name}: {text}", file=sys.stderr, flush=True)
        context.log(f"{name}: {text}")
    print("x" * (2**16 - 40) + secret)
    print(secret * (2**17 // len(secret)), flush=True)
    subprocess.run(["cat", "/dev/stdin"], input=secret.encode(), check=True)
    rejects = [Reject(number, f"refused: {text}", "a row") for number, text in enumerate(worn.values(), 1)]
    file = context.data.stage_rejects(f"from {secret}", rejects)
    yield Unit(cursor=1, omitted=len(rejects), rejects=(file,), message=f"said {worn[context.config['wear']]}")
    try:
        raise ValueError(secret)
    except ValueError as error:
        traceback.print_exc()
        sys.stderr.flush()
        raise ERRORS[context.config["error"]](worn[context.config["wear"]]) from error


def spill_many(context: Context) -> Iterator[Unit]:
    """Says each line of its secrets in one clothing or another, and ends with all of them."""
    secrets = [line for _, one in sorted(context.credentials.items()) for line in one.reveal().splitlines()]
    worn = [CLOTHING[ESCAPED[number % len(ESCAPED)]](one) for number, one in enumerate(secrets)]
    for text in worn:
        print(text)
        context.log(text)
    rejects = [Reject(number, text, "a row") for number, text in enumerate(worn, 1)]
    file = context.data.stage_rejects("many", rejects)
    yield Unit(cursor=1, omitted=len(rejects), rejects=(file,), message=" ".join(worn[:9]))
    raise Retriable(" ".join(secrets))


def keep(context: Context) -> Iterator[Unit]:
    """Puts its secret where the record would keep it."""
    secret = context.credentials["token"].reveal()
    match context.config["where"]:
        case "cursor":
            yield Unit(cursor={"next": f"https://api.example.com/?token={secret}"})
        case "key":
            context.intend([Intent(key=f"k-{secret}", first=0, last=0, digest="0" * 64)])
        case "detail":
            context.intend(
                [Intent(key="k", first=0, last=0, digest="0" * 64, detail={"token": CLOTHING["hex"](secret)})]
            )
        case "next":
            yield Unit(cursor=1, intends=(Intent(key=f"k-{secret}", first=0, last=0, digest="0" * 64),))
    yield Unit(cursor=1)


def count(context: Context) -> Iterator[Unit]:
    """One more with each run."""
    assert context.credentials["token"].reveal()
    yield Unit(cursor=(context.cursor or 0) + 1, message=f"from {context.cursor}")


def wait(context: Context) -> Iterator[Unit]:
    """At work until it is asked to stop."""
    context.log("at work")
    while not context.stopping():
        time.sleep(0.005)
    yield Unit(cursor=None, moved=False)


def check(_method: str, credentials: Mapping[str, Secret], _uses: object) -> str:
    secret = credentials["token"].reveal()
    for wear in CLOTHING.values():
        print(wear(secret))
        print(wear(secret), file=sys.stderr)
    raise KeyError(secret)


def _type(name: str, run: object) -> JobType:
    return JobType(
        name=name, type="import", title=name, schema={"type": "object"}, config=lambda value: value, run=run,  # type: ignore[arg-type]
        authorization="required",
    )  # fmt: skip


PROVIDER = Provider(
    name="canary",
    title="Careless",
    check=check,
    methods=(
        Method(name="token", title="A token", fields={"token": "the token"}),
        Method(name="many", title="Many tokens", fields=dict.fromkeys(("a", "b", "c"), "tokens, one a line")),
    ),
    job_types=(
        _type("spill", spill),
        _type("spill-many", spill_many),
        _type("keep", keep),
        _type("count", count),
        _type("wait", wait),
    ),
)
