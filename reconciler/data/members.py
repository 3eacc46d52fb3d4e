"""The members of an audience against the ledger of what a destination holds: what `core.members.Members` promises.

One join finds who is new, gone, or made of other values than when last looked at; on an ordinary day that is few, and only
they are mapped, looked up in the ledger and sorted. The plan that comes of it is written once, in the order in which it
is sent, and read back in blocks.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.clock import iso
from reconciler.core.document import digest_of
from reconciler.core.members import (
    ACTIONS,
    MAX_HALVES,
    Difference,
    Exceptional,
    Ledger,
    LedgerFile,
    Members,
    Rows,
    Wish,
)
from reconciler.core.profile import ProfileRules, ProfileSet
from reconciler.core.value import dataclass
from reconciler.data.decisions import changed_sql, outcome_sql, planned_sql
from reconciler.data.durable import replaced
from reconciler.data.engine import EngineError, workspace
from reconciler.data.heirs import leave_doubted
from reconciler.data.leavers import gone_row, without_doubted
from reconciler.data.ledger import (
    COLUMNS,
    IS_TOLD,
    REFUSED,
    SILENT,
    State,
    copy,
    counted,
    grown,
    ledger_sql,
    parquet,
)
from reconciler.data.mapping import Mapped, mapped, transformed
from reconciler.data.names import sql_string
from reconciler.data.plan_rows import PlanReader
from reconciler.data.segments import TEMPORARY, job_file
from reconciler.data.spared import remove_once, spare
from reconciler.errors import Fatal

#: Cores that a comparison may use.
THREADS: Final = 2
#: Rows that are mapped at a time.
BLOCK_ROWS: Final = 65_536
#: More files of exceptions than this are put together.
MAX_EXCEPTION_FILES: Final = 16


@dataclass(frozen=True, slots=True)
class Selection:
    """Who is a member: `where` is SQL over columns `attribute:<name>`, which reads the parameter $now where `reads_now`;
    `view` makes the SELECT of all profiles with these attributes and keys; `types` are those of all attributes, `keys`
    all identity keys. `aliases` makes the SELECT of the ids (`alias`) that were or would be those of each profile (`id`)."""

    view: Callable[[Sequence[str], Sequence[str]], str]
    where: str
    attributes: tuple[str, ...]
    reads_now: bool
    types: Mapping[str, str]
    keys: Sequence[str]
    aliases: Callable[[], str] = lambda: "SELECT NULL::VARCHAR AS alias, NULL::VARCHAR AS id WHERE false"


class MemberHands:
    """Implements `Members`. `name` makes the path of a new file of the job's own, given what it is; `selection` is asked
    once, when profiles are needed."""

    def __init__(
        self, data_dir: Path, *, job: str, audience: str, run: int, name: Callable[[str], str],
        selection: Callable[[], Selection], memory_mb: int, forgotten: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._forgotten = tuple(forgotten)
        self.audience = audience
        self._data_dir = data_dir
        self._job = job
        self._run = run
        self._name = name
        self._selection = selection
        self._selected: Selection | None = None
        self._memory_mb = memory_mb
        self._staged = 0
        self._reader: PlanReader | None = None

    def compare(self, wish: Wish, ledger: Ledger, *, now_ms: int) -> Difference:
        found = half = self._compared(wish, ledger, now_ms=now_ms)
        later: list[Difference] = []
        while half.is_half and len(later) < MAX_HALVES:
            ledger = Ledger((*ledger.files, LedgerFile(file=half.plan, rows=half.rows + half.silent)), ledger.facts)
            half = self._compared(replace(wish, notes_all=False, retry=""), ledger, now_ms=now_ms)
            later.append(half)
        return replace(found, later=tuple(later))

    def _compared(self, wish: Wish, ledger: Ledger, *, now_ms: int) -> Difference:
        self._selected = selection = self._selected or self._selection()
        fields = mapped(wish.fields, selection.types, selection.keys)
        with self._workspace() as db:
            comparison = _Comparison(db, self._data_dir, wish, ledger, selection, fields, now_ms, self._forgotten)
            return comparison.staged(self._new("plan.parquet"), self._run)

    def digest(self, difference: Difference) -> str:
        found = hashlib.sha256()
        with self._workspace() as db:
            for one in (difference, *difference.later):
                for rows in self._calls(db, one.plan):
                    found.update("".join(json.dumps(row) for row in rows).encode())
        return found.hexdigest()[:32]

    def _calls(self, db: Any, plan: str) -> Iterator[Iterator[tuple[Any, ...]]]:
        """The calls of a plan, in blocks."""
        if plan:
            rows = f"FROM {parquet(self._data_dir, plan)} WHERE action < {SILENT} ORDER BY ALL"
            for batch in db.sql(f"SELECT action, id, payload, previous {rows}").to_arrow_reader(BLOCK_ROWS):
                yield zip(*(one.to_pylist() for one in batch.columns), strict=True)

    def exists(self, plan: str) -> bool:
        return (self._data_dir / plan).is_file()

    def rows(self, plan: str, first: int, stop: int) -> Rows:
        if self._reader is None or self._reader.plan != plan:
            self._reader = PlanReader(self._data_dir, plan)
        return self._reader.rows(first, stop)

    def omissions(self, plan: str) -> Iterator[tuple[int, str, str]]:
        at = 0
        with pq.ParquetFile(self._data_dir / plan) as file:
            for batch in file.iter_batches(BLOCK_ROWS, columns=["id", "reason", "is_news"]):
                news = batch.column("is_news").to_pylist()
                if any(news):
                    ids, reasons = batch.column("id").to_pylist(), batch.column("reason").to_pylist()
                    yield from ((at + row, ids[row], reasons[row]) for row, is_news in enumerate(news) if is_news)
                at += batch.num_rows

    def stage_exceptions(self, rows: Sequence[Exceptional], before: Sequence[str]) -> tuple[str, ...]:
        old: list[str] = []
        if len(before) >= MAX_EXCEPTION_FILES:
            old = [line for file in before for line in (self._data_dir / file).read_text("utf-8").splitlines()]
            before = ()
        lines = [*old, *(json.dumps(asdict(one)) for one in rows)]
        file = self._new("exceptions.ndjson")
        path = self._data_dir / file
        with replaced(path, path.with_name(path.name + TEMPORARY)) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        return (*before, file)

    def fold(
        self, ledger: Ledger, plan: str, done: int, exceptions: Sequence[str], *, now_ms: int, is_whole: bool = False
    ) -> Ledger:
        anew = bool(self._forgotten)  # no file of the ledger is to hold them any more
        with self._workspace() as db:
            if is_whole and not exceptions and not anew:  # a plan says what its rows leave behind when all are accepted
                count = pq.read_metadata(self._data_dir / plan).num_rows
                return grown(db, self._data_dir, ledger, LedgerFile(file=plan, rows=count), self._new("base.parquet"))
            rows = outcome_sql(self._data_dir, ledger, plan, done, exceptions)
            stamped = f"SELECT *, {self._run}::BIGINT AS run, {_timestamp(now_ms)} AS moment FROM ({rows})"
            file = self._new("ledger.parquet")
            delta = LedgerFile(file=file, rows=copy(db, self._data_dir, file, stamped))
            after = grown(db, self._data_dir, ledger, delta, self._new("base.parquet"), anew=anew)
        if delta not in after.files:
            (self._data_dir / file).unlink(missing_ok=True)
        return after

    def write(
        self, path: Path, kind: Any, *, ledger: Ledger, plan: str, changes: bool, fields: Sequence[str],
        options: Mapping[str, Any],
    ) -> int:  # fmt: skip
        from reconciler.data.membership import write_membership

        with self._workspace() as db:
            temporary = f".{path.name}.{self._job}.tmp"
            return write_membership(
                db, self._data_dir, path, kind, ledger, plan, fields, options, changes=changes, temporary=temporary
            )

    def _new(self, what: str) -> str:
        self._staged += 1
        return self._name(f"{self._staged}-{what}")

    @contextmanager
    def _workspace(self) -> Iterator[Any]:
        try:
            with workspace(self._data_dir, memory_mb=self._memory_mb, threads=THREADS) as db:
                yield db
        except EngineError as error:
            raise Fatal(f"the audience cannot be compared: {error}") from error


# --- comparing ------------------------------------------------------------------------------------------------------


@dataclass
class _Comparison:
    """One comparison, in a workspace of its own: tables `changed`, then `planned`, then the file."""

    db: Any
    data_dir: Path
    wish: Wish
    ledger: Ledger
    selection: Selection
    fields: Mapped
    now_ms: int
    forgotten: Sequence[str]
    parameters: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = {"now": iso(self.now_ms).removesuffix("Z")} if self.selection.reads_now else {}

    def staged(self, file: str, run: int) -> Difference:
        if not self.ledger.files and not self.fields.transformed:
            return self._all_new(file, run)
        if self.wish.retry != "all":
            self.forgotten = without_doubted(self.db, self.data_dir, self.ledger.files, self.forgotten, run)
        self._find_changed()
        newcomers, known = self._counted("count(*) FILTER (NOT known), count(*) FILTER (known)", "changed")
        if not newcomers + known:
            return self._without_traces(file)
        with self._mapped_texts() as texts:
            self._plan(texts, known=bool(known))
        if self.wish.calls.removes_noted and self._counted("count(*) FILTER (action = 2)", "planned")[0]:
            self._keep_merged()
        waiting = debts = 0
        by_identity = "count(*) FILTER (action = 2 OR previous IS NOT NULL)"
        if self.wish.spares != "never" and self._counted(by_identity, "planned")[0]:
            ledger = ledger_sql(self.data_dir, self.ledger.files, list(COLUMNS))
            waiting, debts = spare(self.db, self.wish, self.forgotten, ledger)
            remove_once(self.db, self.forgotten)
            if not self._counted("count(*)", "planned")[0]:
                return self._without_traces(file)
        if known:
            debts += leave_doubted(self.db, ledger_sql(self.data_dir, self.ledger.files, ["id"]))
        counted = dict(self.db.execute("SELECT action, count(*) FROM planned GROUP BY action").fetchall())
        order = "ORDER BY action, id" if len(counted) > 1 else ""
        copy(self.db, self.data_dir, file, f"{self._stamped(run, 'planned')} {order}")
        return self._described(file, newcomers + debts, counted, is_half=waiting + debts > 0)

    def _all_new(self, file: str, run: int) -> Difference:
        """Nobody is known: members become rows of the plan in one go, which are many, and nothing is kept in between."""
        members = f"(SELECT *, true AS here, false AS known FROM ({self._members_sql()}))"
        planned = f"({self._planned(members, texts='', known=False)})"
        rows = copy(self.db, self.data_dir, file, self._stamped(run, planned), self.parameters)
        if not rows:
            (self.data_dir / file).unlink()
            return Difference()
        made = parquet(self.data_dir, file)
        counted = dict(self.db.execute(f"SELECT action, count(*) FROM {made} GROUP BY action").fetchall())
        if len(counted) > 1:
            copy(self.db, self.data_dir, file, f"SELECT * FROM {made} ORDER BY action, id")
        return self._described(file, rows, counted, made)

    def _stamped(self, run: int, planned: str) -> str:
        """What the file of a plan holds of its rows."""
        stamp = f"{run}::BIGINT AS run, {_timestamp(self.now_ms)} AS moment"
        return f"SELECT * EXCLUDE (former, former_payload), {stamp} FROM {planned}"

    def _without_traces(self, file: str) -> Difference:
        """Nobody is to be sent or removed. Where a file of the ledger still holds one who is forgotten and has left, the
        plan is one row without a call, so that the ledger is written anew."""
        row = gone_row(self.db, self.data_dir, self.ledger.files, self.forgotten)
        if not row:
            return Difference()
        copy(self.db, self.data_dir, file, row)
        return Difference(plan=file, silent=1)

    def _find_changed(self) -> None:
        columns = ", ".join(one.name for one in self.fields.columns)
        sends_noted = self.wish.sends_noted and self.ledger.facts.noted > 0
        amiss = ["reason"] if self.wish.retry or sends_noted else []  # what is not asked for is not read
        light = ", ".join(["id", "source", "state", *(f"{one} <> '' AS amiss" for one in amiss)])
        ledger = ledger_sql(self.data_dir, self.ledger.files, ["id", "source", "state", *amiss])
        self.db.execute(
            f"CREATE TEMP TABLE changed AS SELECT coalesce(m.id, l.id) AS id, m.id IS NOT NULL AS here, "
            f"l.id IS NOT NULL AS known, coalesce(m.source, 0) AS source, {columns} "
            f"FROM ({self._members_sql()}) m FULL JOIN (SELECT {light} FROM ({ledger})) l ON m.id = l.id "
            f"WHERE {changed_sql(self.wish, self.forgotten, sends_noted=sends_noted)}",
            self.parameters,
        ).fetchall()

    def _members_sql(self) -> str:
        fields, selection = self.fields, self.selection
        names = ", ".join(one.name for one in fields.columns)
        values = ", ".join(f"{one.expression} AS {one.name}" for one in fields.columns)
        attributes = sorted({*fields.attributes, *selection.attributes})
        view = selection.view(attributes, list(fields.keys))
        return (
            f"SELECT *, hash({sql_string(self._shape())}, {names}) AS source FROM "
            f"(SELECT id, {values} FROM ({view}) WHERE ({selection.where}) IS TRUE)"
        )

    def _shape(self) -> str:
        """Names the mapping and the calls that are made: with others, everyone is looked at again, because what was sent may
        be older than what was looked at."""
        return digest_of([self.fields.shape, asdict(self.wish.calls)])

    @contextmanager
    def _mapped_texts(self) -> Iterator[str]:
        """The SQL of a table with the transformed texts of those that are here; empty where no field has a
        transform. It lies in a temporary folder, since all of an audience may pass through it once."""
        columns = self.fields.transformed
        if not columns:
            yield ""
            return
        texts = ", ".join(f"{one.as_text} AS {one.name}" for one in columns)
        with tempfile.TemporaryDirectory(prefix=".mapping-", dir=self.data_dir) as folder:
            path = Path(folder) / "texts.parquet"
            schema = pa.schema([("id", pa.string()), *((one.name, pa.string()) for one in columns)])
            found = self.db.sql(f"SELECT id, {texts} FROM changed WHERE here")
            with pq.ParquetWriter(path, schema, compression="none") as out:
                for batch in found.to_arrow_reader(BLOCK_ROWS):
                    out.write_table(transformed(batch, columns))
            yield f"read_parquet({sql_string(str(path))})"

    def _plan(self, texts: str, *, known: bool) -> None:
        self.db.execute(f"CREATE TEMP TABLE planned AS {self._planned('changed', texts=texts, known=known)}").fetchall()

    def _planned(self, changed: str, *, texts: str, known: bool) -> str:
        """The SQL of the plan's rows, of those in the table `changed`."""
        fields = self.fields
        names = {one.name for one in fields.transformed}
        plain = [f"c.{one.name}" for one in fields.columns if one.name not in names]
        taken = ", ".join(["c.id, c.here, c.known, c.source", *plain, *(f"t.{one}" for one in sorted(names))])
        joined = f"LEFT JOIN {texts} t ON c.id = t.id" if texts else ""
        mapping = (
            f"SELECT *, {fields.payload_sql()} AS p, {fields.reason_sql()} AS r, {fields.idents_sql()} AS ni "
            f"FROM (SELECT *, {fields.json_sql()} FROM (SELECT {taken} FROM {changed} c {joined}))"
        )
        before = ["id", "source", "state", "payload", "idents", "tried", "reason"]
        ledger = ledger_sql(self.data_dir, self.ledger.files if known else (), before)
        renamed = f"id, source AS ls, state AS was, payload AS lp, idents AS li, {REFUSED} AS lt, {IS_TOLD} AS told, reason AS lr"
        prior = f"SELECT {renamed} FROM ({ledger})"
        return planned_sql(self.wish, fields, mapping, prior, self.forgotten)

    def _keep_merged(self) -> None:
        """Who was only noted, and turned out to be another one that is a member, has not left."""
        ledger = ledger_sql(self.data_dir, self.ledger.files, ["id", "state"])
        self.db.execute(
            f"UPDATE planned SET action = {SILENT}, payload = NULL, idents = NULL WHERE action = 2 AND id IN "
            f"(SELECT id FROM ({ledger}) WHERE state = {State.NOTED:d}) AND id IN (SELECT alias FROM "
            f"({self.selection.aliases()}) WHERE id IN (SELECT id FROM ({self._members_sql()})))",
            self.parameters,
        ).fetchall()

    def _described(
        self, file: str, newcomers: int, counted: Mapping[int, int], planned: str = "planned", *, is_half: bool = False
    ) -> Difference:
        calls = {action: int(counted.get(code, 0)) for code, action in enumerate(ACTIONS)}
        gone = self._counted(f"count(*) FILTER (action = {SILENT} AND state = {State.GONE:d})", planned)[0]
        omissions = self.db.execute(
            f"SELECT reason, count(*) FROM {planned} WHERE is_news GROUP BY reason ORDER BY count(*) DESC, reason"
        ).fetchall()
        if self.wish.calls.add and calls["update"]:
            is_half = self._counted(f"count(*) FILTER (action = 1 AND {IS_TOLD})", planned)[0] > 0 or is_half
        is_half = is_half and self.wish.spares == "later"  # a file holds one plan of a run
        is_empty = False
        if calls["remove"] + gone or is_half:
            found = self.db.execute(f"SELECT 1 FROM ({self._members_sql()}) LIMIT 1", self.parameters).fetchall()
            is_empty = not found
        return Difference(
            plan=file, calls=calls, silent=int(counted.get(SILENT, 0)), gone=gone, newcomers=newcomers,
            omissions=dict(omissions), is_empty=is_empty, is_half=is_half,
        )  # fmt: skip

    def _counted(self, counts: str, table: str) -> tuple[int, ...]:
        return counted(self.db, counts, table)


def _timestamp(now_ms: int) -> str:
    return f"{sql_string(iso(now_ms).removesuffix('Z'))}::TIMESTAMP"


def open_members(
    data_dir: Path, *, job: str, run: int, attempt: int, unit: Callable[[], int], audience: Mapping[str, Any],
    rules: ProfileRules, ask: Callable[[], ProfileSet], memory_mb: int, forgotten: Sequence[str] = (),
) -> Members:  # fmt: skip
    """The hands of one attempt of a run. `audience` is `{"name", "where"}`; `ask` waits for the profiles that the run is
    to read, and is called with the first comparison. `forgotten` are removed whatever the mode, and leave no trace."""
    return MemberHands(
        data_dir,
        job=job,
        audience=audience["name"],
        run=run,
        name=lambda what: job_file(job, run, attempt, unit(), what),
        selection=lambda: selection(data_dir, audience["where"], rules, ask()),
        memory_mb=memory_mb,
        forgotten=forgotten,
    )


def selection(data_dir: Path, where: str, rules: ProfileRules, profiles: ProfileSet) -> Selection:
    """Who is a member by a condition over the attributes of these profiles. Raises Fatal where it cannot be read."""
    from reconciler.core.language import BadExpression, attribute_types, compile_condition
    from reconciler.data.profiles.read import ProfileReader

    try:
        types = attribute_types(rules)
        condition = compile_condition(where, types)
    except BadExpression as error:
        raise Fatal(f"the audience cannot be read: {error}") from error
    reader = ProfileReader(data_dir, profiles, rules)
    return Selection(
        view=reader.view_sql,
        where=condition.sql,
        attributes=tuple(condition.attributes),
        reads_now=condition.reads_now,
        types=types,
        keys=rules.keys,
        aliases=reader.aliases_sql,
    )
