"""What the fork server loads once so that no run loads it again.

Everything takes half a second, and a run waits for no more of it than runs of its type need: that comes first where a run is
to start, the rest while nobody asks. A run of somebody else's provider may import anything, so everything is there before.

Nothing that loads those libraries may be imported before, and so at the top of no module that this one needs.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import os
import pkgutil
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.core.messages import MAINTENANCE
from reconciler.core.provider import Catalogue
from reconciler.errors import ReconcileError
from reconciler.runner.processes import threads

#: What every run needs; the catalogue is beside it.
ALWAYS: Final = (
    "pyarrow",
    "pyarrow.compute",
    "pyarrow.parquet",
    "reconciler.runner.rehearsal",
    "reconciler.runner.work",
)

_ASKS: Final = ("duckdb",)
#: The language of expressions and conditions, with its parser.
_LANGUAGE: Final = ("reconciler.core.language.compile",)
_AUDIENCE: Final = (*_ASKS, *_LANGUAGE, "reconciler.data.members", "reconciler.data.profiles.read")
_BUILD: Final = (*_ASKS, *_LANGUAGE, "reconciler.data.profiles.build", "reconciler.data.audiences")
_HTTP: Final = ("encodings.idna", "httpcore", "httpx", "reconciler.providers.http.config")
_FILES: Final = ("reconciler.providers.files.config",)
#: What runs of our own providers' job types, builds of profiles and compactions need beside it, by provider and job type. A
#: compaction begins beside the import whose segments it puts together, and takes no processor from it for what it does not need.
NEEDED: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("files", "import-csv"): (*_FILES, "pyarrow.csv", "reconciler.providers.files.imports"),
    ("files", "import-ndjson"): (*_FILES, *_ASKS, "reconciler.providers.files.imports"),
    ("files", "import-parquet"): (*_FILES, "reconciler.providers.files.imports"),
    ("files", "export-csv"): (*_FILES, *_ASKS, "reconciler.providers.files.exports"),
    ("files", "export-ndjson"): (*_FILES, "reconciler.providers.files.exports"),
    ("files", "export-parquet"): (*_FILES, "reconciler.providers.files.exports"),
    ("files", "export-audience"): (*_FILES, *_AUDIENCE, "reconciler.providers.files.export_audience"),
    ("http", "import-json"): (*_HTTP, "reconciler.providers.http.import_json"),
    ("http", "export-webhook"): (*_HTTP, "reconciler.providers.http.webhook"),
    ("http", "export-audience"): (*_HTTP, *_AUDIENCE, "reconciler.providers.http.export_audience"),
    (MAINTENANCE, "build"): _BUILD,
    (MAINTENANCE, "compact"): ("reconciler.data.store",),
}
#: What other runs may need, first what most need: whose the first run will be is not known yet. Named here, not imported: their
#: owners use them.
OTHERS: Final = (
    *_FILES,
    "pyarrow.csv",
    "reconciler.providers.files.imports",
    *_HTTP,
    *_AUDIENCE,
    *_BUILD,
    "certifi",
    "pyarrow.json",
)
#: Settings under which those libraries start no thread while they load. Runs do not inherit them.
NO_THREADS: Final[Mapping[str, str]] = {
    "OPENBLAS_NUM_THREADS": "1",  # numpy's
    "OMP_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # the jemalloc inside pyarrow
}


class CannotLoad(Exception):
    """A provider of somebody else's, or a library, cannot be loaded: no run can be started."""


class Loading:
    """What is loaded, and what is still to be. `catalogue` is there once it has begun."""

    def __init__(self) -> None:
        self.catalogue: Catalogue = {}
        self._left: deque[str] = deque()
        self._has_warned = False

    def begin(self) -> None:
        """What every run needs. Raises CannotLoad."""
        from reconciler import providers

        self._load(*ALWAYS)
        with _loads():
            self.catalogue = providers.catalogue()
            # Modules that a provider imports only in a run, too.
            below = [one.name for one in pkgutil.walk_packages(providers.__path__, f"{providers.__name__}.")]
        self._warn_of_threads()
        self._left.extend((*OTHERS, *below))

    def step(self) -> bool:
        """Loads one thing more; whether anything was left. Raises CannotLoad."""
        if not self._left:
            return False
        self._load(self._left.popleft())
        return True

    def load_for(self, provider: str, job_type: str) -> None:
        """What runs of this type need. Raises CannotLoad."""
        needed = NEEDED.get((provider, job_type))
        if needed is None:
            self.load_all()
        else:
            self._load(*needed)

    def load_all(self) -> None:
        """Raises CannotLoad."""
        self._load(*self._left)
        self._left.clear()

    def _load(self, *names: str) -> None:
        missing = [name for name in names if name not in sys.modules]
        if missing:
            with _loads():
                for name in missing:
                    importlib.import_module(name)
                if "pyarrow" in missing:
                    _keep_pandas_out()
            self._warn_of_threads()

    def _warn_of_threads(self) -> None:
        extra = threads()[1:]
        if extra and not self._has_warned:
            self._has_warned = True
            print(
                f"reconcile: a provider has started threads while it loaded, so its runs may hang: {extra}",
                file=sys.stderr,
            )


@contextlib.contextmanager
def _loads() -> Iterator[None]:
    """Inside, libraries are loaded as they are to be here."""
    with _without_threads(), _absent("httpx._main"):  # its command line would load two libraries that draw on terminals
        try:
            yield
        except ReconcileError as error:
            raise CannotLoad(str(error)) from error
        except Exception as error:
            raise CannotLoad(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _without_threads() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in NO_THREADS}
    os.environ.update(NO_THREADS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _keep_pandas_out() -> None:
    """PyArrow imports pandas, where that is installed, at the first value of Python's that it converts, only to see
    whether the value is one of pandas': half a second of each run. Asked once while there is none, it remembers that,
    and imports it later only where it is truly asked for a data frame."""
    if "pandas" not in sys.modules:
        with _absent("pandas"):
            importlib.import_module("pyarrow").array([0])


@contextlib.contextmanager
def _absent(name: str) -> Iterator[None]:
    """Inside, there is no module of this name."""
    finder = _Absent(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Absent(importlib.abc.MetaPathFinder):
    def __init__(self, absent: str) -> None:
        self._absent = absent

    def find_spec(self, name: str, path: object, target: object = None) -> None:  # noqa: ARG002
        if name == self._absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
