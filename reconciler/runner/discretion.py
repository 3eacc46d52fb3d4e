"""What keeps a run's secrets out of what is kept of it: a unit or an intent that holds one is refused, and the reasons
of rejected rows are redacted before they are written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from reconciler.core.provider import Data, Json, Reject
from reconciler.core.redact import Redactor
from reconciler.errors import Fatal


def refuse_secrets(redactor: Redactor, what: str, kept: Json) -> None:
    """Raises Fatal where what the record is to keep shows a secret. What is no JSON is refused by others."""
    try:
        text = json.dumps(kept, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return
    if redactor.shows_in(text):
        raise Fatal(f"{what} holds a credential, which the record does not keep.")


def discreet(data: Data, redactor: Redactor) -> Data:
    """The data hands, with no secret in what they write about rejected rows. The rows themselves stay as they came."""
    return cast("Data", _Discreet(data, redactor))


class _Discreet:
    def __init__(self, data: Data, redactor: Redactor) -> None:
        self._data = data
        self._redactor = redactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def stage_rejects(self, source: str, rejects: Iterable[Reject]) -> str:
        redact = self._redactor.redact
        clean = (replace(one, reason=redact(one.reason)) for one in rejects)
        return self._data.stage_rejects(redact(source), clean)
