"""A thousand random secrets, through every door by which one comes in (environment, file, command, and written into a spec by
mistake, and into the operator's settings for those who are told), held up by receivers that echo them and by a provider that says
all of them: then no byte of any is in a plan, a log,
a status, the record, an error, or anything else that is left behind.

RECONCILE_TAINT is how many; the seed is printed, and RECONCILE_SEED gives another.
"""

from __future__ import annotations

import os
import random
import stat
import string
import subprocess
from pathlib import Path

import pytest

from reconciler.cli.main import entry
from tests.end_to_end.clothing import CLOTHING, Search
from tests.end_to_end.daemon import reconcile
from tests.end_to_end.test_canary import AUTHORIZATION, JOB, REPOSITORY, SITE, STREAM, answer
from tests.end_to_end.world import rows_of
from tests.servers import serving

COUNT = int(os.environ.get("RECONCILE_TAINT", "1000"))
SEED = int(os.environ.get("RECONCILE_SEED", "20261128"))
#: Tokens in one credential of the careless provider, one a line as in a key file; it has three credentials.
LINES = 40
#: Jobs that ask a receiver which echoes their token.
ECHOED = 24
#: Rules of whom to tell.
TOLD = 6
SPILLING = -(-(COUNT - ECHOED) // (3 * LINES))
LITERAL = "apiVersion: reconciler/v1\nkind: Authorization\nmetadata: {name: by-mistake}\nspec: {provider: http, method: bearer, credentials: {token: %s}}\n"


class Secrets:
    """Random ones, and a reference to each."""

    def __init__(self, vault: Path) -> None:
        print(f"RECONCILE_SEED={SEED}")
        self._random = random.Random(SEED)
        self._vault = vault
        self.all: list[str] = []
        self.env: dict[str, str] = {}
        self._given = 0

    def new(self, signs: str = "") -> str:
        letters = string.ascii_letters + string.digits + signs
        secret = "".join(self._random.choices(letters, k=self._random.randint(24, 40)))
        self.all.append(secret)
        return secret

    def reference(self, signs: str = "", lines: int = 1) -> str:
        secret = "\n".join(self.new(signs) for _ in range(lines))
        self._given += 1
        name = f"s{self._given}"
        if self._given % 3 == 0:
            self.env[f"TAINT_{name.upper()}"] = secret
            return f"{{env: TAINT_{name.upper()}}}"
        (self._vault / name).write_text(secret)
        return f"{{file: {self._vault / name}}}" if self._given % 3 == 1 else f"{{exec: [cat, {self._vault / name}]}}"


def specs(secrets: Secrets, url: str) -> str:
    """Jobs whose runs say their secrets, and those whose receivers do."""
    found = [STREAM]

    def job(name: str, provider: str, job_type: str, authorization: str, config: str) -> None:
        found.append(
            JOB.format(
                name=name, provider=provider, job_type=job_type, authorization=authorization, config=config,
                schedule="once: true", after="",
            )
        )  # fmt: skip

    for number in range(ECHOED):
        name = f"{['refuse', 'cut', 'redirect'][number % 3]}-{sorted(CLOTHING)[number % len(CLOTHING)]}-{number}"
        credentials = f"token: {secrets.reference('~+/=')}"
        found.append(AUTHORIZATION.format(name=name, provider="http", method="bearer", credentials=credentials))
        job(name, "http", "import-json", name, f'url: "{url}/{name}", stream: echoes, allowPrivateAddresses: true')
    for number in range(SPILLING):
        name = f"many-{number}"
        credentials = ", ".join(f"{field}: {secrets.reference('~!@#$%^&*()<>?éж', LINES)}" for field in "abc")
        found.append(AUTHORIZATION.format(name=name, provider="canary", method="many", credentials=credentials))
        job(name, "canary", "spill-many", name, "")
    return "".join(found)


def settings(secrets: Secrets, url: str) -> str:
    """Who is told of the spec that is invalid; each receiver refuses, and says the token that it was sent."""
    found = "notify:\n"
    for number in range(TOLD):
        told = f"{url}/{['refuse', 'cut'][number % 2]}-{sorted(CLOTHING)[number % len(CLOTHING)]}"
        token = secrets.reference("~+/=")
        found += f"  - {{name: told-{number}, batch: 0s, webhook: {{url: '{told}', token: {token}}}}}\n"
    return found


def left_behind(folder: Path, but: set[Path]) -> dict[str, bytes]:
    """Every file, but those that the secrets came from."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if stat.S_ISREG(path.lstat().st_mode) and not but & {path, *path.parents}
    }


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


@pytest.mark.timeout(300)
def test_no_byte_of_a_thousand_secrets_is_left_behind(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, vault, state = (tmp_path / name for name in ("jobs", "vault", "state"))
    root.mkdir()
    vault.mkdir()
    secrets = Secrets(vault)
    options = ["--root", str(root), "--state", str(state)]
    said: list[str] = []
    with serving(answer) as server:
        (root / "jobs.yaml").write_text(specs(secrets, server.url))
        (tmp_path / "reconciler.yaml").write_text(settings(secrets, server.url))
        literal = root / "by-mistake.yaml"
        literal.write_text(LITERAL % secrets.new())
        env = {**secrets.env, "PYTHONPATH": f"{SITE}{os.pathsep}{REPOSITORY}"}
        plan = str(tmp_path / "plan.json")
        for command in (["plan", "--out", plan], ["apply", plan, "--allow-exec", "-v"], ["apply", plan]):
            ended = reconcile(*command, *options, env=env)
            said += [ended.stdout, ended.stderr]
            assert ended.returncode in (1, 5), ended.stderr
    assert "was applied already" in said[-1]
    assert sum(text.count("could not be told") for text in said) >= TOLD
    assert len(secrets.all) >= COUNT
    errors = rows_of(state, "SELECT name, message FROM event WHERE event = 'Error'")
    assert len({name for name, _ in errors}) == ECHOED + SPILLING
    assert all("***" in str(message) for name, message in errors if str(name).startswith("many-"))

    for name, value in secrets.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(SITE))
    git(root, "init", "-qb", "main")
    git(root, "add", "jobs.yaml")
    git(root, "commit", "-qm", "one")
    (root / "jobs.yaml").write_text((root / "jobs.yaml").read_text().replace("initial: 1h", "initial: 2h"))
    jobs = [str(name) for (name,) in rows_of(state, "SELECT name FROM resource WHERE kind = 'Job'")]
    commands = [["plan", *more] for more in ([], ["-o", "json"], ["-o", "markdown"], ["--out", "-"])]
    commands += [["plan", "--base", "main", *more] for more in ([], ["-o", "json"], ["-o", "markdown"])]
    commands += [["validate", "-o", one] for one in ("text", "json", "github", "gitlab", "junit", "sarif")]
    commands += [["list", "-o", "json"], ["history"], ["apply", plan], ["auth", "check", "many-0", "--allow-exec"]]
    commands += [[command, job] for job in jobs for command in ("show", "logs")]
    commands += [["why", job] for job in jobs[::5]]
    for words in commands:
        assert entry([*words, *options]) in (0, 1, 5), words
    out, err = capfd.readouterr()
    assert "found a value; a secret never stands in a spec" in err
    said += [out, err]
    search = Search(secrets.all)
    assert search.found(b"x" + secrets.all[-2].encode() + b"y")
    found = {where: len(search.found(data)) for where, data in left_behind(tmp_path, {vault, literal}).items()}
    found |= {f"output {number}": len(search.found(text.encode())) for number, text in enumerate(said)}
    assert {where: count for where, count in found.items() if count} == {}
