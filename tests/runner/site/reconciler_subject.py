"""A provider of someone else, installed beside the product: each job type does one thing that a provider may do, or
must not. Found by its entry point, as any third-party provider is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from reconciler.core.provider import Context, Intent, JobType, Method, Provider, Staged, Unit
from reconciler.errors import Fatal, RateLimited, Retriable

ERRORS: dict[str, Callable[[str], BaseException]] = {
    "Retriable": lambda text: Retriable(text, retry_after_s=7),
    "Endless": lambda text: Retriable(text, retry_after_s=float("inf")),
    "Fatal": Fatal,
    "RateLimited": lambda text: RateLimited(text, retry_after_s=60),
    "KeyError": KeyError,
    "MemoryError": MemoryError,
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
}


def count(context: Context) -> Iterator[Unit]:
    """`units` units, from the cursor on."""
    begin = context.cursor or 0
    for number in range(begin, context.config["units"]):
        time.sleep(context.config.get("pause_s", 0))
        context.log(f"unit={context.unit} cursor={context.cursor} omitted={context.omitted}")
        yield Unit(cursor=number + 1, rows=10, omitted=1, message=f"made {number + 1}")


def idle(context: Context) -> Iterator[Unit]:
    yield from ()


def still(context: Context) -> Iterator[Unit]:
    yield Unit(cursor=context.cursor, rows=0, moved=False)


def fail(context: Context) -> Iterator[Unit]:
    yield from ()
    raise ERRORS[context.config["error"]](context.config["text"])


def leak(context: Context) -> Iterator[Unit]:
    """Lets its secret out in every way that a provider has."""
    secret = context.credentials["token"].reveal()
    print(f"token is {secret}", flush=True)
    print(f"again {secret}", file=sys.stderr)
    context.log(f"logged {secret}")
    subprocess.run(["echo", f"child {secret}"], check=True)
    yield Unit(cursor=1, message=f"unit {secret}")
    raise KeyError(secret)


def speak(context: Context) -> Iterator[Unit]:
    """Prints `times` lines, each of `length` characters."""
    for number in range(context.config["times"]):
        print(str(number).ljust(context.config["length"], "x"))
    os.write(1, b"no end of line")
    yield Unit(cursor=1)


def crash(context: Context) -> Iterator[Unit]:
    yield Unit(cursor=1)
    match context.config["how"]:
        case "exit":
            os._exit(3)
        case "segv":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "term":
            os.kill(os.getpid(), signal.SIGTERM)


def block(context: Context) -> Iterator[Unit]:
    """Never gets to a unit, in the way that `how` says; first says that it has begun."""
    context.log("blocking")
    match context.config["how"]:
        case "sleep":
            while True:
                time.sleep(1000)
        case "spin":
            while True:
                pass
        case "hold":  # in C code, with the interpreter's lock held, for longer than the universe is old
            re.match(r"(a+)+$", "a" * 64 + "b")
        case "signals":
            for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}:
                signal.signal(number, signal.SIG_IGN)
            while True:
                time.sleep(1000)
        case "child" | "session":
            child = subprocess.Popen(["sleep", "1000"], start_new_session=context.config["how"] == "session")
            context.log(f"child={child.pid}")
            child.wait()
    yield Unit(cursor=1)


def stubborn(context: Context) -> Iterator[Unit]:
    """Takes no hint: goes on after it was closed, and swallows whatever is thrown at it."""
    while True:
        try:
            yield Unit(cursor=context.unit)
        except BaseException:
            context.log("swallowed")


def polite(context: Context) -> Iterator[Unit]:
    """Ends its unit as soon as it is asked to stop, and tidies up."""
    try:
        context.log("waiting")
        while not context.stopping():
            time.sleep(0.005)
        yield Unit(cursor="stopped", rows=3)
        context.log("went on")
    finally:
        context.log("tidied up")


def announce(context: Context) -> Iterator[Unit]:
    """Sends nothing before its intent is committed; a refused intent must never get to the effect."""
    try:
        context.intend([])
        context.intend([Intent(key="k1", first=0, last=9, digest="0" * 64, detail={"size": 10})])
        context.log("sent")
        yield Unit(cursor=10, rows=10, closes=("k1",))
        context.log(f"open={len(context.open_intents)}")
    except BaseException:
        context.log("caught")
        raise
    finally:
        context.log("finally")


def resend(context: Context) -> Iterator[Unit]:
    for one in context.open_intents:
        context.log(f"again {one.key} {one.first}-{one.last} {one.detail}")
    yield Unit(cursor=1, closes=tuple(one.key for one in context.open_intents))


def unit(context: Context) -> Iterator[Any]:
    """A unit made of whatever the config says."""
    fields = dict(context.config)
    fields["segments"] = tuple(Staged(**one) for one in fields.get("segments", ()))
    yield Unit(**{"cursor": None, **fields})


def odd(context: Context) -> Any:
    """Not what a provider is to produce, or not what JSON can hold."""
    match context.config["what"]:
        case "nothing":
            return None
        case "text":
            return iter(["a unit"])
        case "set":
            return iter([Unit(cursor={1, 2})])
        case "nan":
            return iter([Unit(cursor=float("nan"))])
        case "surrogate":
            return iter([Unit(cursor="\ud800")])
        case "large":
            return iter([Unit(cursor="x" * (17 * 2**20))])
        case "circle":
            circle: list[Any] = []
            circle.append(circle)
            return iter([Unit(cursor=circle)])
        case "intent":
            context.intend(["not one"])  # type: ignore[list-item]
        case "next":
            return iter([Unit(cursor=1, intends=("not one",))])  # type: ignore[arg-type]
    return None


def _socket_to_the_controller() -> int:
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                return int(name)
        except OSError:
            pass
    raise AssertionError("no socket")


def say(context: Context) -> Iterator[Unit]:
    """Writes to the controller behind the runner's back: `texts` as frames, or `hex` as it is."""
    handle = _socket_to_the_controller()
    for text in context.config.get("texts", ()):
        payload = text.encode("utf-8", "surrogatepass")
        os.write(handle, struct.pack("!I", len(payload)) + payload)
    os.write(handle, bytes.fromhex(context.config.get("hex", "")))
    if context.config.get("flood"):
        line = b'{"is":"Output","run":%d,"text":"x"}' % context.run
        flood = (struct.pack("!I", len(line)) + line) * 1000
        sock = socket.socket(fileno=handle)
        while True:
            sock.sendall(flood)
    if context.config.get("hang_up"):
        socket.socket(fileno=handle).shutdown(socket.SHUT_RDWR)
    time.sleep(1000)
    yield Unit(cursor=1)


def linger(context: Context) -> Iterator[Unit]:
    """Says that it has succeeded, and stays."""
    payload = (
        b'{"is":"Ended","run":%d,"attempt":%d,"how":"succeeded","message":"","retry_after_s":null,"found_nothing":true,"approval":""}'
        % (context.run, context.attempt)
    )
    os.write(_socket_to_the_controller(), struct.pack("!I", len(payload)) + payload)
    while True:
        time.sleep(1000)
    yield Unit(cursor=1)


def probe(context: Context) -> Iterator[Unit]:
    """Facts of its own process."""
    until_s = time.monotonic() + 10
    while len(os.listdir("/proc/self/task")) > 2 and time.monotonic() < until_s:
        time.sleep(0.01)  # a thread that has ended is in the kernel's list for a moment
    links = {}
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        with contextlib.suppress(OSError):  # the listing's own
            links[name] = os.readlink(f"/proc/self/fd/{name}").split(":")[0]
    facts = {
        "session": os.getsid(0) == os.getpid() == os.getpgid(0),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
        "fds": links,
        "threads": len(os.listdir("/proc/self/task")),
        "python_threads": sorted(one.name for one in threading.enumerate()),
        "sigint": str(signal.getsignal(signal.SIGINT)),
        "sigchld": str(signal.getsignal(signal.SIGCHLD)),
        "variables": sorted(name for name in os.environ if name.startswith("SUBJECT_")),
        "environment": sorted(name for name in os.environ if "THREADS" in name or name.startswith("JE_")),
        "heavy": [name for name in ("duckdb", "httpx", "pyarrow", "pydantic") if name in sys.modules],
    }
    yield Unit(cursor=facts)


def delegate(context: Context) -> Iterator[Unit]:
    """Does the work of another provider's job type, and tells which modules that loaded after the fork."""
    from reconciler.providers import catalogue

    before = set(sys.modules)
    job_type = catalogue()[context.config["provider"]].job_type(context.config["jobType"])
    assert job_type is not None
    context.config = job_type.config(context.config["config"])
    yield from job_type.run(context)
    context.log(f"loaded={sorted(set(sys.modules) - before)}")


def grow(context: Context) -> Iterator[Unit]:
    kept = bytearray(b"x") * (context.config["mib"] * 2**20)
    yield Unit(cursor=len(kept))


def files(context: Context) -> Iterator[Unit]:
    yield Unit(cursor=[[text, str(path)] for text, path in context.expand(context.config["path"])])


def stream(context: Context) -> Iterator[Unit]:
    reader = context.stream(context.config["stream"])
    yield Unit(cursor=[reader.name, reader.end])


def _config(value: Any) -> Any:
    if "refuse" in value:
        raise ValueError("refuse: unknown field")
    return value


PROVIDER = Provider(
    name="subject",
    title="A provider under test",
    methods=(Method(name="token", title="A token", fields={"token": "the token"}),),
    job_types=tuple(
        JobType(
            name=one.__name__,
            type="import",
            title=one.__name__,
            schema={"type": "object"},
            config=_config,
            run=one,
            authorization="optional",
        )
        for one in (
            count, idle, still, fail, leak, speak, crash, block, stubborn, polite, announce, resend, unit, odd, say,
            linger, probe, delegate, grow, files, stream,
        )
    ),
)  # fmt: skip
