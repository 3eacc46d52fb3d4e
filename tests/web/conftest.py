"""One intake process for every test that changes nothing for the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.served import Served


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("intake")) as process:
        yield process
