"""What exports of audiences cost: finding the difference, and sending it. `python -m tests.benchmarks.audiences --help`.

    difference   all members against a ledger of as many, where one in a hundred came, changed or went; the yardstick is
                 DuckDB's anti-join of the same two files, both ways (it finds who came and who went, not who changed)
    export       so many changes to a sink on loopback, in batches; the yardstick is a bare httpx loop that reads the
                 same rows, writes them as JSON and posts them. Committed in memory: what SQLite adds is measured with whole runs elsewhere

Both sides of a ratio are measured in the same process, one after the other, several times; the median counts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

import httpx

from reconciler.core.members import Ledger, MappedField, Wish
from reconciler.core.mirror import calls
from reconciler.data.engine import workspace
from reconciler.data.ledger import parquet
from reconciler.data.members import THREADS, MemberHands, Selection
from reconciler.providers.http import PROVIDER
from reconciler.testing import BenchContext, Place
from reconciler.testing import Ledger as Record
from tests.benchmarks.rows import Bench, Figure, Round, Row, under

TYPES: Final = {"plan": "text", "spent": "decimal(12,2)"}
FIELDS: Final = {"email": {"from": "email"}, "plan": {"from": "plan"}, "spent": {"from": "spent"}}
WISH: Final = Wish(
    fields=tuple(MappedField(name=name, source=one["from"]) for name, one in FIELDS.items()),
    calls=calls("mirror", "both"),
)


def write_people(folder: Path, members: int, changed: int) -> Path:
    """So many profiles in a file; with `changed` one in a hundred is new, one in a hundred has changed."""
    file = folder / f"people-{members}-{changed}.parquet"
    first = members // 100 if changed else 0
    plan = "CASE WHEN i % 100 = 7 THEN 'platinum' ELSE 'gold' END" if changed else "'gold'"
    with workspace(folder, memory_mb=2048) as db:
        db.execute(
            f"COPY (SELECT md5(i::VARCHAR) AS id, ['p' || i || '@example.org'] AS \"key:email\", {plan} AS \"attribute:plan\", "
            f'(i % 10000 / 100)::DECIMAL(12,2) AS "attribute:spent" FROM range({first}, {first + members}) t(i)) '
            f"TO '{file}' (FORMAT parquet)"
        ).fetchall()
    return file


def selection(file: Path) -> Selection:
    return Selection(
        lambda _a, _k: f"SELECT * FROM read_parquet('{file}')",
        '"attribute:spent" >= 0',
        ("spent",),
        False,
        TYPES,
        ("email",),
    )


def hands(folder: Path, file: Path, memory_mb: int) -> MemberHands:
    return MemberHands(
        folder, job="bench", audience="people", run=1, name=lambda what: f"jobs/bench/{time.monotonic_ns()}-{what}",
        selection=lambda: selection(file), memory_mb=memory_mb,
    )  # fmt: skip


def timed(work: Callable[[], Any], times: int) -> float:
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return median(taken)


def difference(folder: Path, members: int, memory_mb: int, times: int) -> None:
    before, after = write_people(folder, members, 0), write_people(folder, members, 1)
    begin = time.perf_counter()
    first = hands(folder, before, memory_mb)
    found = first.compare(WISH, Ledger(), now_ms=0)
    compared = time.perf_counter()
    ledger = first.fold(Ledger(), found.plan, found.rows, (), now_ms=0)
    print(
        f"first run: {compared - begin:.2f} s to stage {found.rows} additions, {time.perf_counter() - compared:.2f} s to fold"
    )
    second = hands(folder, after, memory_mb)
    base = parquet(folder, ledger.files[0].file)

    def anti_joins() -> None:
        with workspace(folder, memory_mb=memory_mb, threads=THREADS) as db:
            people = f"read_parquet('{after}')"
            db.execute(
                f"CREATE TEMP TABLE came AS SELECT m.id FROM {people} m ANTI JOIN {base} l USING (id)"
            ).fetchall()
            db.execute(
                f"CREATE TEMP TABLE went AS SELECT l.id FROM {base} l ANTI JOIN {people} m USING (id)"
            ).fetchall()

    ours, theirs, ours_cpu, theirs_cpu = [], [], [], []
    for _ in range(times):
        at = time.process_time()
        theirs.append(timed(anti_joins, 1))
        between = time.process_time()
        ours.append(timed(lambda: second.compare(WISH, ledger, now_ms=0), 1))
        ours_cpu.append(time.process_time() - between)
        theirs_cpu.append(between - at)
    found = second.compare(WISH, ledger, now_ms=0)
    print(f"difference at {members} members: {dict(found.calls)}")
    print(
        f"  ours {median(ours):.2f} s, anti-joins {median(theirs):.2f} s, ratio {median(ours) / median(theirs):.2f} "
        f"(cpu {median(ours_cpu) / median(theirs_cpu):.2f}; aim: under 1.5)"
    )
    print(
        f"  nothing changed: {timed(lambda: hands(folder, before, memory_mb).compare(WISH, ledger, now_ms=0), times):.2f} s"
    )
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB, {memory_mb} MiB asked for")


def differences(run: Bench) -> Iterator[Round]:
    members, memory_mb = run.size(5_000_000, 50_000), 1024
    with run.scratch() as folder:
        before, after = write_people(folder, members, 0), write_people(folder, members, 1)
        first = hands(folder, before, memory_mb)
        found = first.compare(WISH, Ledger(), now_ms=0)
        ledger = first.fold(Ledger(), found.plan, found.rows, (), now_ms=0)
        second, base = hands(folder, after, memory_mb), parquet(folder, ledger.files[0].file)

        def anti_joins() -> None:
            with workspace(folder, memory_mb=memory_mb, threads=THREADS) as db:
                people = f"read_parquet('{after}')"
                for name, one, other in (("came", people, base), ("went", base, people)):
                    db.execute(
                        f"CREATE TEMP TABLE {name} AS SELECT a.id FROM {one} a ANTI JOIN {other} b USING (id)"
                    ).fetchall()

        for _ in range(run.rounds):
            theirs = timed(anti_joins, 1)
            yield {"": (timed(lambda: second.compare(WISH, ledger, now_ms=0), 1), theirs)}
        run.note(f"a difference of {dict(second.compare(WISH, ledger, now_ms=0).calls)}")


ROWS: Final = (
    Row(
        name="audience-difference",
        asks="audience difference",
        figures={
            "": Figure(
                what="difference between an audience of 5 million members and its ledger",
                yardstick="DuckDB's anti-join of the same two files, both ways",
                aim=under(1.5),
            )
        },
        measure=differences,
        differs="the anti-joins find who came and who went; ours also finds who changed, digests the fields, and writes all of it",
    ),
)


# --- sending --------------------------------------------------------------------------------------------------------


def sink(listening: socket.socket) -> None:
    """Reads requests and answers 200: no HTTP library, so that the sink is not what is measured."""
    while True:
        connection, _ = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        file = connection.makefile("rb")
        while line := file.readline():
            length = 0
            while line not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
                line = file.readline()
            file.read(length)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def export(folder: Path, members: int, batch: int, transform: list[str]) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    server = multiprocessing.get_context("fork").Process(target=sink, args=(listening,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/in"
    ours = exported(folder, members, batch, url, transform)
    script, bare = scripted(folder, members, batch, url)
    server.kill()
    print(f"export of {members} additions in batches of {batch}, transforms {transform}")
    print(f"  ours {ours:.2f} s, an httpx loop {script:.2f} s, {script / ours:.2f} of its rate (aim: over 0.7)")
    print(f"  a loop that posts one ready body over and over {bare:.2f} s, {bare / ours:.2f} of its rate")


def scripted(folder: Path, members: int, batch: int, url: str) -> tuple[float, float]:
    """How long a script takes that reads the same rows, writes each batch as JSON and posts it; and one that only
    posts."""
    file = next(folder.rglob("people-*.parquet"))
    begin = time.perf_counter()
    with workspace(file.parent, memory_mb=1024) as db, httpx.Client() as client:
        found = db.execute(
            'SELECT "key:email"[1] AS email, "attribute:plan" AS plan, "attribute:spent"::VARCHAR AS spent '
            f"FROM read_parquet('{file}')"
        )
        while rows := found.fetchmany(batch):
            members_of = [{"email": email, "plan": plan, "spent": spent} for email, plan, spent in rows]
            body = {"job": "bench", "audience": "people", "action": "add", "members": members_of}
            answer = client.post(url, json=body, headers={"Idempotency-Key": "1"})
            answer.raise_for_status()
    script = time.perf_counter() - begin
    content = answer.request.content
    begin = time.perf_counter()
    with httpx.Client() as client:
        for number in range(members // batch):
            headers = {"Content-Type": "application/json", "Idempotency-Key": str(number)}
            client.post(url, content=content, headers=headers).raise_for_status()
    return script, time.perf_counter() - begin


def exported(folder: Path, members: int, batch: int, url: str, transform: list[str]) -> float:
    data_dir = folder / "root" / ".reconciler" / "data"
    data_dir.mkdir(parents=True, exist_ok=True)
    place = Place(root=folder / "root", data_dir=data_dir, credentials={}, ledger=Record(data_dir), run=1, attempt=1)
    place.selection = selection(write_people(data_dir, members, 0))
    fields = {**FIELDS, "email": {"from": "email", "transform": transform}}
    job_type = PROVIDER.job_type("export-audience")
    assert job_type is not None
    config = job_type.config(
        {"audience": "people", "fields": fields, "url": url, "batchSize": batch, "allowPrivateAddresses": True}
    )
    context = BenchContext(place, config, "", frozenset(), lambda: None)
    begin = time.perf_counter()
    for unit in job_type.run(context):
        place.ledger.commit(unit, place.run)
        context.advance(unit)
    taken = time.perf_counter() - begin
    print("  " + place.ledger.units[-1].message)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("what", nargs="*", choices=["difference", "export"], default=["difference", "export"])
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--memory-mb", type=int, default=1024)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--transform", action="append", default=[])
    arguments = parser.parse_args()
    for what in arguments.what:
        with tempfile.TemporaryDirectory(prefix="audiences-") as folder:
            if what == "difference":
                difference(Path(folder), arguments.members, arguments.memory_mb, arguments.times)
            else:
                export(Path(folder), arguments.members, arguments.batch, arguments.transform)


if __name__ == "__main__":
    main()
