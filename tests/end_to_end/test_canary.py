"""No secret leaves a run: real passes, a daemon and every command, over receivers that echo what they were sent, wrong
references, and a provider that is as careless as one can be. Then every byte that is left behind is looked through for
every piece of every secret, in all the clothing in which a secret travels."""

from __future__ import annotations

import os
import random
import re
import stat
import string
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.cli.main import entry
from tests.end_to_end.clothing import CLOTHING, Search
from tests.end_to_end.daemon import Daemon, reconcile
from tests.end_to_end.world import rows_of
from tests.servers import Play, Request, as_json, serving

SITE = Path(__file__).parent / "site"
REPOSITORY = Path(__file__).parents[2]
RANDOM = random.Random(7)


def some(length: int, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(RANDOM.choices(letters, k=length))


def awkward() -> str:
    """A secret that a header can carry, and that is written differently in every clothing."""
    signs = ['"', "'", "%41", "%zz", "&<b>", "\\n", "\\x41", "/+=", " ", "~"]
    return "".join(f"{some(4)}{sign}{some(3)}" for sign in RANDOM.sample(signs, len(signs)))


SECRETS = {
    "bearer": awkward(),
    "username": f"rita.{some(14)}@example.com",
    "password": f"pässwörd {some(12)} ключ {some(12)} 密码",
    "api-key": some(300) + "==",
    "signing": f"{some(40)}\n{some(40)}\n  {awkward()}\n",
    "several-lines": f'{some(24)}\nzweite Zeile {some(24)}\n\n"{some(24)}"',
    "plain": some(30, string.ascii_lowercase),
    "unsendable": f"töken-{some(20)}",
    "broken-command": some(32),
    "rotated": some(40),
}

STREAM = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: echoes}\nspec: {}\n"
AUTHORIZATION = """---
apiVersion: reconciler/v1
kind: Authorization
metadata: {{name: {name}}}
spec: {{provider: {provider}, method: {method}, credentials: {{{credentials}}}}}
"""
JOB = """---
apiVersion: reconciler/v1
kind: Job
metadata: {{name: {name}}}
spec:
  provider: {provider}
  jobType: {job_type}
  authorization: {authorization}
  dependsOn: [{after}]
  schedule: {{{schedule}}}
  retry: {{initial: 1h, max: 1h}}
  config: {{{config}}}
"""


@dataclass
class World:
    """A root whose secrets stand in a vault beside it, and in the environment."""

    folder: Path
    url: str
    specs: list[str] = field(default_factory=lambda: [STREAM])
    said: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root, self.vault, self.state = self.folder / "jobs", self.folder / "vault", self.folder / "state"
        self.root.mkdir()
        self.vault.mkdir(mode=0o700)
        for name, secret in SECRETS.items():
            self.keep(name, secret)

    def keep(self, name: str, secret: str) -> None:
        (self.vault / name).write_text(secret + "\n", encoding="utf-8")

    @property
    def env(self) -> dict[str, str]:
        named = {"CANARY_" + name.upper().replace("-", "_"): SECRETS[name] for name in ("bearer", "username")}
        return {**named, "PYTHONPATH": f"{SITE}{os.pathsep}{REPOSITORY}"}

    def reference(self, kind: str, name: str) -> str:
        match kind:
            case "env":
                return "{env: CANARY_" + name.upper().replace("-", "_") + "}"
            case "file":
                return f"{{file: {self.vault / name}}}"
            case _:
                return f"{{exec: [cat, {self.vault / name}]}}"

    def authorization(self, name: str, provider: str, method: str, **credentials: tuple[str, str]) -> None:
        references = ", ".join(f"{key}: {self.reference(*value)}" for key, value in credentials.items())
        self.specs.append(AUTHORIZATION.format(name=name, provider=provider, method=method, credentials=references))

    def job(
        self, name: str, authorization: str, kind: str, config: str, schedule: str = "once: true", after: str = ""
    ) -> None:
        provider, job_type = kind.split(" ")
        if provider == "http":
            config += f', url: "{self.url}/{name}", stream: echoes, allowPrivateAddresses: true'
        self.specs.append(
            JOB.format(
                name=name,
                provider=provider,
                job_type=job_type,
                authorization=authorization,
                schedule=schedule,
                after=after,
                config=config.strip(", "),
            )
        )

    def write(self) -> None:
        (self.root / "jobs.yaml").write_text("".join(self.specs), encoding="utf-8")

    @property
    def options(self) -> list[str]:
        return ["--root", str(self.root), "--state", str(self.state), "-v"]

    def one_pass(self) -> int:
        ended = reconcile(*self.options, "--allow-exec", env=self.env)
        self.said += [ended.stdout.encode(), ended.stderr.encode()]
        return ended.returncode

    def left_behind(self) -> dict[str, bytes]:
        """Every file but the vault's, and everything that was printed."""
        found = {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if stat.S_ISREG(path.lstat().st_mode) and not path.is_relative_to(self.vault)
        }
        return found | {f"output {number}": data for number, data in enumerate(self.said)}


# --- receivers that echo ----------------------------------------------------------------------------------------------


def sent(request: Request) -> str:
    """The credential of a request, as its receiver knows it."""
    return request.headers.get("x-api-key") or request.headers.get("authorization", "").partition(" ")[2]


def answer(request: Request) -> Play:
    secret = sent(request)
    what, wear = [*request.path.strip("/").split("/")[0].split("-"), ""][:2]
    dressed = CLOTHING[wear](secret) if wear in CLOTHING else secret
    match what:
        case "refuse":
            return Play(401, f"not for {dressed}".encode())
        case "cut":  # the excerpt of the answer ends within the secret
            return Play(500, b"x" * 180 + dressed.encode())
        case "far":  # as does what is read of it, before the spaces are taken out
            return Play(500, b" " * (3200 - 40) + dressed.encode())
        case "redirect":
            percent = CLOTHING["percent"](secret)
            return Play(302, headers={"Location": f"/land/{percent}?token={percent}"})
        case "path":
            return Play(302, headers={"Location": f"/land/{secret}"})
        case "query":
            return Play(302, headers={"Location": f"/land/?token={secret}"})
        case "land":
            return Play(404, b"nothing here")
        case "scheme":
            return Play(302, headers={"Location": f"{secret}://example.com/"})
        case "host":
            return Play(302, headers={"Location": f"http://[{secret}]/"})
        case "tag":
            return as_json([{"id": 1}], ETag=f'"{secret}"')
        case "link":
            return _linked(request, secret)
        case "hook":
            return Play(422, f"no {dressed}".encode()) if b'"2"' in request.body else Play()
    return as_json([{"id": str(number)} for number in range(5)])


def _linked(request: Request, secret: str) -> Play:
    """Three pages, each of which names the next with the credential in its address, as some vendors do."""
    page = int(request.query.get("page", "1"))
    if page == 3:
        return Play(500, b"not now")
    url = f"{request.path}?page={page + 1}&access_token={CLOTHING['percent'](secret)}"
    return as_json([{"id": f"page {page}"}], Link=f'<{url}>; rel="next"')


def declare(world: World) -> None:
    """Every way that a secret could find out of a run."""
    world.authorization("by-env", "http", "bearer", token=("env", "bearer"))
    world.authorization("by-file", "http", "basic", username=("env", "username"), password=("file", "password"))
    world.authorization("by-command", "http", "api-key", key=("exec", "api-key"), signingSecret=("file", "signing"))
    world.authorization("plain", "http", "bearer", token=("exec", "plain"))
    world.authorization("unsendable", "http", "bearer", token=("file", "unsendable"))
    world.authorization("not-there", "http", "bearer", token=("env", "nowhere"))
    world.authorization("no-file", "http", "bearer", token=("file", "nowhere"))
    leak = f"cat {world.vault / 'broken-command'}; cat {world.vault / 'broken-command'} >&2; exit 3"
    world.specs.append(
        AUTHORIZATION.format(
            name="broken-command", provider="http", method="bearer", credentials=f'token: {{exec: [sh, -c, "{leak}"]}}'
        )
    )
    for name in ("by-env", "by-file", "by-command", "plain"):
        for wear in ("raw", "json", "percent", "base64", "hex", "html", "repr"):
            world.job(f"refuse-{wear}-of-{name}", name, "http import-json", "")
        for what in ("cut", "far", "redirect", "path", "query", "scheme", "host", "tag"):
            world.job(f"{what}-hex-of-{name}", name, "http import-json", "")
        world.job(f"link-of-{name}", name, "http import-json", "pagination: {type: link}")
    for name in ("unsendable", "not-there", "no-file", "broken-command"):
        world.job(f"refuse-of-{name}", name, "http import-json", "")
    world.job("fill", "by-env", "http import-json", "")
    for wear in ("raw", "json", "base64"):
        for name in ("by-env", "by-file", "by-command"):
            signed = ", signature: {}" if name == "by-command" else ""
            world.job(f"hook-{wear}-of-{name}", name, "http export-webhook", f"batchSize: 2{signed}", after="fill")
    for number, error in enumerate(("Fatal", "Retriable", "RateLimited", "KeyError")):
        for secret, kind in (("several-lines", "exec"), ("password", "file"), ("bearer", "env"), ("api-key", "file")):
            if number == 0:
                world.authorization(f"careless-{secret}", "canary", "token", token=(kind, secret))
            wear = sorted(CLOTHING)[(4 * number + len(secret)) % len(CLOTHING)]
            config = f"error: {error}, wear: {wear}"
            world.job(f"spill-{secret}-{number}", f"careless-{secret}", "canary spill", config)
    for where in ("cursor", "key", "detail", "next"):
        world.job(f"keep-{where}", "careless-bearer", "canary keep", f"where: {where}")


#: What the jobs of each kind end with.
SAID = {
    "refuse-raw": r"answered 401, the credentials are not accepted: not for \*\*\*; retry in",
    "refuse-hex": r"answered 401, the credentials are not accepted: not for \*\*\*; retry in",
    "refuse-of-unsendable": "the value of the header Authorization holds characters that a header cannot carry",
    "refuse-of-not-there": "the environment variable CANARY_NOWHERE is not set",
    "refuse-of-no-file": "the file .*/vault/nowhere cannot be read: No such file or directory",
    "refuse-of-broken-command": "the command sh ended with exit code 3",
    "cut": r"answered 500: x{180}\*\*\*; retry in",
    "far": "answered 500",
    "redirect": r"/land/\*\*\*: answered 404, there is nothing at this address: nothing here",
    "path": r"/land/\*\*\*: answered 404, there is nothing at this address: nothing here",
    "scheme": "only http and https addresses are requested, found another scheme|answered 404",
    "query": "/land/: answered 404, there is nothing at this address: nothing here",
    "host": "neither a name nor an address|not a URL that can be requested|Invalid URL|is not known",
    "link": "answered 500: not now",
    "spill": r"\*\*\*",
    "keep": "(Unit 1|An intent) of the provider holds a credential, which the record does not keep",
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(answer) as server:
        yield World(tmp_path, server.url)


def looked_through(world: World) -> None:
    search = Search(SECRETS.values())
    names = {secret: name for name, secret in SECRETS.items()}
    leaks = {where: {names[one] for one in search.found(data)} for where, data in world.left_behind().items()}
    assert {where: found for where, found in leaks.items() if found} == {}


# --- the stories ----------------------------------------------------------------------------------------------------


def test_the_search_finds_a_secret_in_any_clothing_and_a_piece_of_one() -> None:
    search = Search(SECRETS.values())
    for secret in SECRETS.values():
        for wear in CLOTHING.values():
            assert secret in search.found(f"x{wear(secret)}y".encode())
        assert search.found(secret.encode()[:20]) == {secret}
    assert not search.found((REPOSITORY / "README.md").read_bytes())


@pytest.mark.timeout(300)
def test_no_secret_leaves_a_run(
    world: World, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(world)
    world.write()
    assert world.one_pass() == 1
    refused = rows_of(world.state, "SELECT message FROM event WHERE event = 'Synced' AND name LIKE 'hook-%'")
    assert len([text for (text,) in refused if "was refused (answered 422: no ***)" in text]) >= 9
    for what, message in SAID.items():
        said = rows_of(world.state, "SELECT name, message FROM event WHERE event = 'Error' AND name LIKE ?", f"{what}%")
        assert said, what
        assert not [(name, text) for name, text in said if not re.search(message, text)]
    with Daemon(world.root, "--state", str(world.state), "--allow-exec", "-v", env=world.env) as daemon:
        daemon.wait_for("Watching")
        looked_through(world)
        daemon.kill()
        world.said.append("\n".join(daemon.lines).encode())
    for name, value in world.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(SITE))
    assert entry([*world.options, "list", "-o", "name"]) == 0
    jobs = capfd.readouterr().out.split()
    assert len(jobs) > 80
    authorizations = [
        name for (name,) in rows_of(world.state, "SELECT name FROM resource WHERE kind = 'Authorization'")
    ]
    commands = [
        ["plan"],
        ["plan", "-o", "json"],
        ["plan", "-o", "markdown"],
        ["plan", "--out", "-"],
        ["validate"],
        ["list", "-o", "json"],
        ["list", "-o", "yaml"],
    ]
    for job in jobs:
        commands += [["show", job], ["show", job, "-o", "json"], ["logs", job], ["logs", job, "-o", "json"]]
    commands += [["why", job] for job in jobs[::10]]
    commands += [["auth", "check", name, "--allow-exec"] for name in authorizations]
    for command in commands:
        assert entry([*command, *world.options]) in (0, 1), command
    out, err = capfd.readouterr()
    assert "***" in out
    world.said += [out.encode(), err.encode()]
    looked_through(world)


@pytest.mark.timeout(120)
def test_a_changed_secret_is_one_event_and_restarts_nothing(world: World) -> None:
    world.authorization("rotating", "canary", "token", token=("file", "rotated"))
    for name in ("one", "two"):
        world.job(name, "rotating", "canary count", "", schedule="continuous: true")
    world.write()
    assert world.one_pass() == 0
    before = rows_of(world.state, "SELECT name, generation FROM resource WHERE kind = 'Job' ORDER BY name")
    assert events(world, "SecretRotated") == []
    changed = some(40)
    world.keep("rotated", changed)
    assert world.one_pass() == 0
    assert world.one_pass() == 0
    ((name, message),) = events(world, "SecretRotated")
    assert name in ("one", "two")
    assert message == "rotating: the secret behind token has changed"
    assert rows_of(world.state, "SELECT name, generation FROM resource WHERE kind = 'Job' ORDER BY name") == before
    for name in ("one", "two"):
        said = [message for job, message in events(world, "Synced") if job == name]
        assert said == ["from None", "from 1", "from 2"]
    assert events(world, "Updated") == events(world, "Restarted") == []
    search = Search([SECRETS["rotated"], changed])
    assert not [where for where, data in world.left_behind().items() if search.found(data)]


@pytest.mark.timeout(120)
def test_what_others_see_of_a_run_s_process_holds_no_secret(world: World) -> None:
    for name, kind in (("by-file", "file"), ("by-command", "exec")):
        world.authorization(name, "canary", "token", token=(kind, "several-lines"))
        world.job(f"wait-{name}", name, "canary wait", "")
    world.write()
    search = Search([SECRETS["several-lines"]])
    with Daemon(world.root, "--state", str(world.state), "--allow-exec", env=world.env) as daemon:
        daemon.wait_for("Started")
        daemon.wait_for("Started")
        while len(at_work(world)) < 2:
            threading.Event().wait(0.02)
        for pid in at_work(world):
            for fact in ("cmdline", "environ"):
                assert not search.found(seen(pid, fact)), fact
        assert search.found(SECRETS["several-lines"].encode())
        assert daemon.terminate() == 0


def events(world: World, event: str) -> list[tuple[str, str]]:
    return rows_of(world.state, "SELECT name, message FROM event WHERE event = ? ORDER BY id", event)  # type: ignore[return-value]


def at_work(world: World) -> list[int]:
    return [pid for (pid,) in rows_of(world.state, "SELECT pid FROM run WHERE live = 1 AND output LIKE '%at work%'")]


def seen(pid: int, fact: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{fact}").read_bytes()
    except PermissionError:  # a run is not to be looked into by others at all
        return b""
