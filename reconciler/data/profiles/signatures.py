"""Messages into signatures, and signatures into the states of profiles: for one sheet of attributes.

A signature is what some messages of one stream have in common: one of their identifiers, since all that one message
carries belong to the same profile. Which identifiers a message carries together is read apart, without its attributes:
these rows are narrower than they are many. Only where the one identifier turns out to be void, the signatures of its
messages are all of their identifiers, and those messages are read again.

Where there are so many attributes that one row of them would fill the memory, each further sheet reads the messages again
for its own.

What an attribute shows of a single message (`latest`, `first`) is folded as the order of that message, a number, and its
value is looked up at the end, by place: values are what is wide, and all but one of a profile's are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from reconciler.core.language.reading import in_place
from reconciler.core.profile import BuildWork
from reconciler.data.profiles.merges import Merge
from reconciler.data.profiles.messages import Layers, Messages
from reconciler.data.profiles.order import Order
from reconciler.data.profiles.tables import id_sql

#: Signatures of which the profiles are looked up at a time.
BATCH_ROWS: Final = 1 << 19


class Signatures:
    """The signatures of a build with the states of a sheet's attributes (their numbers). Tables: `signature_<slot>` and,
    of the first sheet, `many_<slot>`; then `link_<slot>` for each of `streams`, then `gathered`. Only the first sheet has
    streams which give it nothing."""

    def __init__(
        self, connection: Any, data_dir: Path, work: BuildWork, merges: Sequence[Merge], sheet: Sequence[int]
    ) -> None:
        self._connection = connection
        self._data_dir = data_dir
        self._work = work
        self._merges = merges
        self._order = Order()
        self._is_first = not sheet or not sheet[0]
        names = work.rules.attributes
        self._kinds = {names[index]: merges[index] for index in sheet}
        found = [Messages(data_dir, work.rules, slot, self._kinds) for slot in range(len(work.rules.streams))]
        self._own: dict[int, int] = {}
        self._numbered = 0
        self._is_alone = True  # whether each signature is one identifier
        self.streams = [one for one in found if self._is_first or one.contributions]

    def span(self, stream: Messages) -> tuple[int, int]:
        """The positions that are new: from the first, before the second."""
        built = self._work.base.built.get(stream.rules.name, 0)
        return built, max(built, self._work.stops.get(stream.rules.name, built))

    # --- messages into signatures ---

    def read(self, order: Order, progress: Callable[[int, int], None]) -> tuple[int, int]:
        """Folds what is new; how many messages, and how many without a time."""
        self._order = order
        total = sum(stop - first for first, stop in map(self.span, self.streams))
        done = messages = untimed = self._numbered = 0
        self._own = {one.slot: index for one in self.streams for index in self._own_identity(one)}
        self._is_alone = True
        for stream in self.streams:
            first, stop = self.span(stream)
            progress(done, total)
            selected = f"SELECT *, {self._own_number(stream)} AS own FROM ({self._selected(stream, first, stop)})"
            self._do(f"CREATE OR REPLACE TABLE signature_{stream.slot} AS {selected}")
            counts = f"SELECT coalesce(sum(m), 0), coalesce(sum(u), 0), count(own) FROM signature_{stream.slot}"
            read = self._connection.execute(counts).fetchall()[0]
            messages, untimed = messages + int(read[0]), untimed + int(read[1])
            self._numbered += read[2]
            nobody = " AND ".join(f"i{index} IS NULL" for index in range(len(stream.keys)))
            self._do(f"DELETE FROM signature_{stream.slot} WHERE {nobody}")
            if self._is_first:
                self._do(f"CREATE OR REPLACE TABLE many_{stream.slot} AS {self._together(stream, first, stop)}")
            done += stop - first
        progress(done, total)
        return messages, untimed

    def _own_identity(self, stream: Messages) -> Iterator[int]:
        """The identity of a stream that is a signature wherever it stands, if it is as it came and nothing else gives its
        key: then each of its identifiers has one signature, and need not be looked for."""
        first = precedence(stream)[0]
        given = [one.key for each in self._work.rules.streams for one in each.identity]
        identity = stream.rules.identity[first]
        if self._is_first and not identity.normalize and given.count(identity.key) == 1:
            yield first

    def _own_number(self, stream: Messages) -> str:
        """The number of the identifier that a signature is, where no other signature is the same one."""
        if stream.slot not in self._own:
            return "NULL::BIGINT"
        identifier = f"i{self._own[stream.slot]}"
        before = f"count({identifier}) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
        return f"CASE WHEN {identifier} IS NOT NULL THEN {before} + {self._numbered - 1} END"

    def read_dropped(self, progress: Callable[[int, int], None]) -> None:
        """Folds the messages of earlier builds that carry one of the identifiers `anew`."""
        self._own = {}
        for done, stream in enumerate(self.streams):
            progress(done, len(self.streams))
            carried = [
                f"i{index} IN (SELECT value FROM anew WHERE key = {key})" for index, key in enumerate(stream.keys)
            ]
            old = self._selected(stream, 0, self.span(stream)[0], " OR ".join(carried))
            if old:
                self._is_alone = False
                self._do(f"CREATE OR REPLACE TABLE old AS {old}")
                self._do(f"INSERT INTO signature_{stream.slot} BY NAME SELECT * FROM old")
                if self._is_first:
                    columns = ", ".join(f"i{index}" for index in range(len(stream.keys)))
                    self._do(f"INSERT INTO many_{stream.slot} BY NAME SELECT {columns}, k FROM old")
                self._do("DROP TABLE old")
        progress(len(self.streams), len(self.streams))

    def read_void(self) -> None:
        """Folds anew what was folded under an identifier that is void (those of `bad`): under all that came with it."""
        self._own = {}
        for stream in self.streams:
            order = precedence(stream)
            cases = []
            for at, index in enumerate(order[:-1]):  # the last one is a signature only where it came alone
                earlier = "".join(f"i{one} IS NULL AND " for one in order[:at])
                cases.append(f"({earlier}i{index} IN (SELECT value FROM bad WHERE key = {stream.keys[index]}))")
            again = self._selected(stream, *self.span(stream), " OR ".join(cases)) if cases else ""
            if again:
                self._is_alone = False
                self._do(f"INSERT INTO signature_{stream.slot} BY NAME {again}")

    def _together(self, stream: Messages, first: int, stop: int) -> str:
        """A query of the identifiers that messages of a range carry together, where they carry several, with the first
        commit `k` of each such set."""
        segments = self._work.streams.get(stream.rules.name, ()) if first < stop and len(stream.keys) > 1 else ()
        source = stream.texts_sql(self._connection, segments, first, stop) or stream.nothing()
        texts = [f"s{index}" for index in range(len(stream.keys))]
        several = " AND ".join(f"{one} IS NOT NULL" for one in texts)  # which the scan of the file takes over
        if len(texts) > 2:
            several = " + ".join(f"({one} IS NOT NULL)::TINYINT" for one in texts) + " > 1"
        by = ", ".join(texts)
        commit = self._order.commit(stream.slot)
        layers = Layers(f"SELECT {by}, min({commit}) AS k FROM ({source}) WHERE {several} GROUP BY {by}")
        named = [f"{value} AS i{index}" for index, value in enumerate(stream.identifiers(layers.once))]
        return layers.select([*named, "k"])

    def _selected(self, stream: Messages, first: int, stop: int, only: str = "") -> str:
        """A query of a range's signatures: `i<n>`, what its messages fold into, the first commit `k` (as the order has
        it), and counts. One of the `i<n>` is not NULL. What is alike is grouped before it is normalised, so that each
        text is normalised once; two signatures may then have the same identifier, which does no harm. With `only`, a
        condition over the `i<n>`, it cannot be so, and they are all there; the query is then empty where there is nothing
        to read."""
        folds = [f"{self._merges[one.index].fold(f'x{one.index}')} AS a{one.index}" for one in stream.contributions]
        commit = f"min({self._order.commit(stream.slot)}) AS k"
        made = ", ".join([commit, "count(*) AS m", "count(*) FILTER (u) AS u", *folds])
        segments = self._work.streams.get(stream.rules.name, ()) if first < stop else ()
        read = partial(stream.sql, only=only) if only else stream.texts_sql
        source = read(self._connection, segments, first, stop) or ("" if only else stream.nothing())
        if not source:
            return ""
        source = f"SELECT *, {self._order.of(stream.slot)} AS o FROM ({source})"
        if only:
            by = ", ".join(f"i{index}" for index in range(len(stream.keys)))
            return f"SELECT {by}, {made} FROM ({source}) GROUP BY {by}"
        layers = Layers(_alone(stream, source, made))
        named = [f"{value} AS i{index}" for index, value in enumerate(stream.identifiers(layers.once))]
        return layers.select([*named, "k", "m", "u", *(f"a{one.index}" for one in stream.contributions)])

    # --- signatures into profiles ---

    def identifiers(self) -> str:
        """A query of all identifiers, numbered from 0: `n`, `key`, `value`, and the first commit `k`."""
        own = [
            f"SELECT own AS n, {stream.keys[self._own[stream.slot]]}::SMALLINT AS key, i{self._own[stream.slot]} AS value, k "
            f"FROM signature_{stream.slot} WHERE own IS NOT NULL"
            for stream in self.streams
            if stream.slot in self._own
        ]
        numbered = self._numbered if own else 0
        others = [
            f"SELECT (row_number() OVER ())::BIGINT + {numbered - 1} AS n, key, value, k FROM ({_union(values)})"
            for values in [list(self._values())]
            if values
        ]
        return _union([*own, *others])

    def _values(self) -> Iterator[str]:
        """The identifiers that are to be looked for, one key at a time. What is a signature wherever it stands is not among
        those that come together."""
        for key in range(len(self._work.rules.keys)):
            parts = [
                f"SELECT i{index} AS value, k FROM {table}_{stream.slot} WHERE i{index} IS NOT NULL"
                for stream in self.streams
                for index, one in enumerate(stream.keys)
                for table in (("signature",) if index == precedence(stream)[0] else ("signature", "many"))
                if one == key and index != self._own.get(stream.slot)
            ]
            if parts:
                yield f"SELECT {key}::SMALLINT AS key, value, min(k) AS k FROM ({_union(parts)}) GROUP BY value"

    def link(self) -> None:
        """`link_<slot>`: the nodes of each row of `many`, which are the numbers of its identifiers in `found`."""
        for stream in self.streams:
            nodes = ", ".join(f"n{index}.n AS n{index}" for index in range(len(stream.keys)))
            self._do(f"""
                CREATE OR REPLACE TABLE link_{stream.slot} AS
                SELECT {nodes} FROM many_{stream.slot} AS s {_nodes(stream, range(len(stream.keys)))}""")

    def gather(self, *, anew: bool) -> None:
        """`gathered`: what the signatures of each profile fold into. `said`: the messages whose values are shown, by
        place; of the messages of earlier builds too where some profiles are built `anew`."""
        used = self._used()
        made = ["pk", "sum(m)::BIGINT AS m", *(f"{self._merges[one].gather(f'a{one}')} AS a{one}" for one in used)]
        signatures = " UNION ALL BY NAME ".join(self._owned(stream) for stream in self.streams)
        self._do(f"CREATE OR REPLACE TABLE gathered AS SELECT {', '.join(made)} FROM ({signatures}) GROUP BY pk")
        for stream in self.streams:
            self._do(f"DROP TABLE signature_{stream.slot}")
        picked = self._picked()
        if picked:
            self._do(f"CREATE OR REPLACE TABLE place AS {self._places(picked)}")
            self._do(f"CREATE OR REPLACE TABLE said AS {self._said(picked, anew=anew)}")

    def _owned(self, stream: Messages) -> str:
        """The signatures that belong to a profile. Those identifiers of one that are not void all belong to the same."""
        states = "".join(f", a{one.index}" for one in stream.contributions)
        own = self._own.get(stream.slot)
        sought = [index for index in range(len(stream.keys)) if index != own]
        nodes = [*(f"n{index}.n" for index in sought), *(["s.own"] if own is not None else [])]
        owners = ", ".join(f"owner_of({one})" for one in nodes)
        owner = f"owner_of(coalesce({', '.join(nodes)}))" if self._is_alone else f"greatest({owners})"
        source = f"signature_{stream.slot} AS s {_nodes(stream, sought)}"
        return f"SELECT * FROM (SELECT {owner} AS pk, m{states} FROM {source}) WHERE pk > 0"

    def _used(self) -> list[int]:
        """The attributes that the streams give something."""
        return sorted({one.index for stream in self.streams for one in stream.contributions})

    def _picked(self) -> list[int]:
        return [index for index in self._used() if self._merges[index].is_picked]

    def _place(self, order: str) -> str:
        return self._order.parts(order)[2]

    def _places(self, picked: Sequence[int]) -> str:
        """The places of the messages whose values are shown. That of the first attribute is most often that of all."""
        first, *others = picked
        own = {first: "", **{index: f" AND a{index} IS DISTINCT FROM a{first}" for index in others}}
        return _union(
            f"SELECT {self._place(f'a{index}')} AS p FROM gathered WHERE a{index} IS NOT NULL{differs}"
            for index, differs in own.items()
        )

    def _said(self, picked: Sequence[int], *, anew: bool) -> str:
        kinds = {name: merge for name, merge in self._kinds.items() if merge.is_picked}
        nothing = "".join(f", {self._merges[one].nothing} AS x{one}" for one in picked)
        parts = [f"SELECT 0::BIGINT AS p{nothing} WHERE false"]
        for stream in self.streams:
            picking = Messages(self._data_dir, self._work.rules, stream.slot, kinds)
            first, stop = self.span(stream)
            first = 0 if anew else first
            segments = self._work.streams.get(stream.rules.name, ()) if picking.contributions and first < stop else ()
            source = picking.texts_sql(self._connection, segments, first, stop)
            values = "".join(f", x{one.index}" for one in picking.contributions)
            parts += [f"SELECT p{values} FROM ({source}) SEMI JOIN place USING (p)"] if source else []
        return " UNION ALL BY NAME ".join(parts)

    def states(self, *, anew: bool) -> str:
        """A query of the states, one row a profile. Those of the first sheet say who it is, unless an earlier build has said
        so: then it did of an identifier that came before, or of this one. If some profiles are built `anew`, all say it."""
        order = self._order
        kept = [f"{self._merges[one].keep(f's.a{one}', order, f'v{one}.x{one}')} AS a{one}" for one in self._used()]
        values = [f"LEFT JOIN said AS v{one} ON v{one}.p = {self._place(f's.a{one}')}" for one in self._picked()]
        if not self._is_first:
            return f"SELECT {', '.join(['s.pk', *kept])} FROM gathered AS s {' '.join(values)}"
        receipt, place = order.commit_parts("leader.k")
        id_ = id_sql(self._work.rules.keys, "leader.key", "leader.value")
        if not anew:
            id_ = f"CASE WHEN NOT leader.is_said THEN {id_} END"
        leader = """
            SELECT * FROM (SELECT led_by(n) AS pk, key, value, k, known AND NOT moved AS is_said FROM node) WHERE pk > 0"""
        who = ["s.pk", f"{id_} AS id", f"{receipt} AS r", f"{place} AS p", "m"]
        return f"""
            SELECT {", ".join([*who, *kept])}
            FROM gathered AS s JOIN ({leader}) AS leader USING (pk) {" ".join(values)}"""

    def _do(self, sql: str) -> None:
        self._connection.execute(sql).fetchall()


def _nodes(stream: Messages, identities: Iterable[int]) -> str:
    """The joins which find the nodes `n<n>.n` of what is `s`."""
    return " ".join(
        f"LEFT JOIN (SELECT n, value FROM found WHERE key = {stream.keys[index]}) AS n{index} ON n{index}.value = s.i{index}"
        for index in identities
    )


def precedence(stream: Messages) -> list[int]:
    """The identities of a stream in the order in which a message's signature is one of them: those that are as they came
    first, since for them it costs nothing to know whether they are there."""
    normalize = [one.normalize for one in stream.rules.identity]
    return sorted(range(len(normalize)), key=lambda index: (bool(normalize[index]), index))


def _alone(stream: Messages, source: str, made: str) -> str:
    """What is `made` of the messages of a query that are alike in one text, that of the first identity of which there is an
    identifier. It is grouped by which one it is and that text: rows of a group are narrower than with a text for each."""
    order = precedence(stream)
    if len(order) == 1:
        return f"SELECT s0, {made} FROM ({source}) GROUP BY s0"
    identifiers = stream.identifiers(in_place)
    given = "".join(f" WHEN ({identifiers[index]}) IS NOT NULL THEN {index}" for index in order[:-1])
    chosen = " ".join(f"WHEN {index} THEN s{index}" for index in sorted(order))
    which = f"SELECT *, (CASE{given} ELSE {order[-1]} END)::SMALLINT AS which FROM ({source})"
    grouped = f"SELECT which, text, {made} FROM (SELECT *, CASE which {chosen} END AS text FROM ({which})) GROUP BY which, text"
    texts = ", ".join(f"CASE WHEN which = {index} THEN text END AS s{index}" for index in sorted(order))
    return f"SELECT * EXCLUDE (which, text), {texts} FROM ({grouped})"


def _union(parts: Iterable[str]) -> str:
    return " UNION ALL ".join(parts)
