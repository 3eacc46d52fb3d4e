"""One job that exports an audience on the conformance suite's bench, and a receiver that holds members as one out there
would: by identifier, each key taken once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reconciler.errors import RunError
from reconciler.providers.http import PROVIDER
from reconciler.testing import Attempt, Place, ProviderConformance, attempt
from tests.servers import Play, Request, Server, serving

FIELDS = {"email": {"from": "email", "transform": ["trim", "lower"]}, "plan": {"from": "plan"}}


def person(number: int, plan: str | None = "gold", **more: Any) -> dict[str, Any]:
    return {"id": f"{number:032x}", "email": [f"P{number}@x.org"], "plan": plan, **more}


def people(first: int, stop: int, plan: str = "gold") -> list[dict[str, Any]]:
    return [person(number, plan) for number in range(first, stop)]


class Receiver:
    """Who is a member there, by e-mail address, with the fields that were sent last. `batches` are the changes that were
    taken, by key: a key that comes again changes nothing."""

    def __init__(self, answer: Callable[[Request], Play] | None = None) -> None:
        self.members: dict[str, dict[str, Any]] = {}
        self.batches: dict[str, Request] = {}
        self.repeated: list[str] = []
        self._answer = answer or (lambda _: Play())

    def __call__(self, request: Request) -> Play:
        play = self._answer(request)
        if play.drop or play.status >= 300:
            return play
        if request.key in self.batches:
            assert self.batches[request.key].body == request.body, "other bytes under the same key"
            self.repeated.append(request.key)
            return play
        self.batches[request.key] = request
        self._apply(request.json["action"], request.json["members"])
        return play

    def _apply(self, action: str, members: Sequence[dict[str, Any]]) -> None:
        for one in members:
            previous = one.pop("previous", None)
            if previous:
                self.members.pop(previous["email"], None)
            if action == "remove":
                self.members.pop(one["email"], None)
            else:
                self.members[one["email"]] = one


class Job(ProviderConformance):
    """A job whose config may change between runs."""

    provider = PROVIDER
    job_type = "export-audience"

    def __init__(
        self, config: Mapping[str, Any], method: str = "", credentials: Mapping[str, str] | None = None
    ) -> None:
        self.method = method  # type: ignore[misc]
        self.settings = {"audience": "people", "fields": FIELDS, "allowPrivateAddresses": True, **config}
        self._credentials = credentials or {}
        self.source: Sequence[Mapping[str, Any]] = ()

    def config(self, place: Place) -> Mapping[str, Any]:
        return self.settings

    def credentials(self) -> Mapping[str, str]:
        return self._credentials

    def people(self) -> Sequence[Mapping[str, Any]]:
        return self.source


class Bench:
    def __init__(self, job: Job, place: Place, server: Server, receiver: Receiver) -> None:
        self.job, self.place, self.server, self.receiver = job, place, server, receiver
        self.ledger = place.ledger

    def run(self, **how: Any) -> Attempt:
        return attempt(self.job, self.place, **{"new_run": True, **how})

    def completes(self, **how: Any) -> Attempt:
        made = self.run(**how)
        assert made.how == "completed", made
        return made

    def again(self, **how: Any) -> Attempt:
        """The next attempt of the same run."""
        return self.run(new_run=False, **how)

    def fails(self, kind: type[RunError], **how: Any) -> Any:
        made = self.run(**how)
        assert isinstance(made.error, kind), made
        return made.error

    def enroll(self, who: Sequence[Mapping[str, Any]], **how: Any) -> None:
        self.place.enroll(who, **how)

    @property
    def sent(self) -> list[tuple[str, list[str]]]:
        """Every request that came: its action, and whose it is."""
        return [
            (one.json["action"], [member["email"] for member in one.json["members"]]) for one in self.server.requests
        ]

    @property
    def facts(self) -> dict[str, int]:
        return dict(self.ledger.cursor["ledger"]["facts"])

    @property
    def last_message(self) -> str:
        return self.ledger.units[-1].message

    def rejects(self) -> list[dict[str, Any]]:
        files = [file for unit in self.ledger.units for file in unit.rejects]
        lines = [line for file in files for line in (self.place.data_dir / file).read_text().splitlines()]
        return [json.loads(line) for line in lines]


@contextmanager
def bench(
    folder: Path, who: Sequence[Mapping[str, Any]] = (), answer: Callable[[Request], Play] | None = None, *,
    method: str = "", credentials: Mapping[str, str] | None = None, **config: Any,
) -> Iterator[Bench]:  # fmt: skip
    receiver = Receiver(answer)
    with serving(receiver) as server:
        job = Job({"url": f"{server.url}/in", **config}, method, credentials)
        job.source = who
        with job.place(folder) as place:
            yield Bench(job, place, server, receiver)
