"""Both enrichments pass the conformance suite: cut off anywhere, each fact is said once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.core.profile import Identity, ProfileRules, StreamRules
from reconciler.providers import files, http
from reconciler.providers.files import enrich_join
from reconciler.providers.http import enrich_lookup
from reconciler.testing import Place, ProviderConformance
from tests.servers import Play, Request, as_json, serving

PEOPLE = [{"id": f"{number:032x}", "email": [f"p{number}@x.de"], "plan": "free"} for number in range(7)]
RULES = ProfileRules(streams=(StreamRules(name="facts", identity=(Identity(key="email", column="email"),)),))


class _Enrichment(ProviderConformance):
    def prepare(self, place: Place) -> None:
        place.rules = RULES
        place.enroll(PEOPLE)

    def outcome(self, place: Place) -> Counter[str]:
        """The facts without the time at which they were written, which is another one in every attempt."""
        facts = [json.loads(text) for text in place.texts("facts")]
        return Counter(json.dumps({**fact, "enriched_at": bool(fact.pop("enriched_at"))}) for fact in facts)


class TestEnrichJoin(_Enrichment):
    provider = files.PROVIDER
    job_type = "enrich-join"

    @pytest.fixture(autouse=True)
    def _small_units(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(enrich_join, "UNIT_BYTES", 1)

    def prepare(self, place: Place) -> None:
        super().prepare(place)
        for number in range(3):
            (place.root / f"ref-{number}.csv").write_text(f"email,seats\np{number}@x.de,{number}\nnobody,1\n")

    def config(self, place: Place) -> Mapping[str, Any]:
        return {"path": "ref-*.csv", "stream": "facts", "key": {"column": "email", "identity": "email"}}

    def spoil(self, place: Place) -> None:
        (place.root / "ref-9.csv").write_text("a,b\n1,2\n")


class TestEnrichLookup(_Enrichment):
    provider = http.PROVIDER
    job_type = "enrich-lookup"
    method = "bearer"

    @pytest.fixture(autouse=True)
    def _small_units(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(enrich_lookup, "UNIT_LOOKUPS", 2)

    def prepare(self, place: Place) -> None:
        super().prepare(place)
        server = place.exit.enter_context(serving(lambda request: self.answer(place, request)))
        place.extra["server"] = server

    def answer(self, place: Place, request: Request) -> Play:
        if place.extra.get("spoilt"):
            return Play(401, json.dumps(request.headers).encode())
        if request.query["q"].startswith("p3"):
            return Play(422, json.dumps(request.headers).encode())
        return as_json({"company": f"of {request.query['q']}"})

    def config(self, place: Place) -> Mapping[str, Any]:
        return {
            "url": place.extra["server"].url + "/?q={value}", "stream": "facts", "key": {"identity": "email"},
            "attributes": {"company": "company"}, "allowPrivateAddresses": True, "requestsPerSecond": 1000,
            "concurrency": 2,
        }  # fmt: skip

    def spoil(self, place: Place) -> None:
        place.extra["spoilt"] = True
        place.enroll([*PEOPLE, {"id": "f" * 32, "email": ["new@x.de"], "plan": "free"}])
