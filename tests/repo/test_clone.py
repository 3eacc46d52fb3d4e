"""A clone follows a real remote: what is new is believed, and whatever goes wrong leaves the last good commit."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.clock import Clock
from reconciler.core.provider import Secret
from reconciler.core.remote import address_of
from reconciler.errors import Fatal
from reconciler.repo.clone import KNOWN_NAME, Clone, Known, Remote
from reconciler.repo.objects import beside_root, entries
from reconciler.repo.transport import Credentials, Transport
from tests.ports import free_port
from tests.repo.remotes import HttpRemote, Ssh, Upstream, git_daemon
from tests.repo.worktree import spec
from tests.servers import TLS_CERTIFICATE

TOKEN = "a-token-that-stands-nowhere"


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    made = Upstream(tmp_path)
    made.publish({"a.yaml": spec("a"), "b/c.yaml": spec("c"), "../data.csv": "not a spec\n"}, "first")
    return made


class Following:
    """A clone beside an upstream. `refused` are commits that the keys do not accept."""

    def __init__(
        self, folder: Path, url: str, credentials: Credentials | None = None, *, branch: str = "", path: str = "jobs.d/"
    ) -> None:
        self.folder = folder / "clone"
        self.refused: dict[str, str] = {}
        self.credentials = credentials or Credentials()
        self.address = address_of(url, "/")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clone = self.again(branch, path)

    def again(self, branch: str = "", path: str = "jobs.d/") -> Clone:
        """As a new process would have it."""
        transport = Transport(self.address, self.folder, lambda: self.credentials)
        remote = Remote(address=self.address, branch=branch, prefix=path)
        return Clone(self.folder, remote, transport, lambda _, commit: self.refused.get(commit, ""), Clock())

    def fetch(self) -> Known:
        return self.clone.fetch()

    def trouble(self) -> str:
        return self.fetch().trouble

    def specs(self) -> dict[str, bytes]:
        """The believed specs, read as the controller reads them: without a network."""
        repository = self.clone.repository()
        assert repository is not None
        return repository.contents(repository.read(self.clone.known.commit).blobs)

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.clone.git_dir), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def following(tmp_path: Path, upstream: Upstream) -> Following:
    return Following(tmp_path, upstream.url)


# --- what is fetched ------------------------------------------------------------------------------------------------


def test_the_history_is_whole_and_of_the_files_only_specs_are_fetched(following: Following, upstream: Upstream) -> None:
    upstream.publish({"a.yaml": spec("a", x="1")}, "second")
    tip = upstream.publish({"a.yaml": spec("a", x="2")}, "third")
    known = following.fetch()
    assert (known.commit, known.branch, known.trouble, known.reached) == (tip, "main", "", True)
    assert following.specs() == {"a.yaml": spec("a", x="2").encode(), "b/c.yaml": spec("c").encode()}
    assert following.git("rev-list", "--count", tip) == "3"
    assert following.git("rev-parse", "--is-shallow-repository", "--is-bare-repository").split() == ["false", "true"]
    objects = following.git("cat-file", "--batch-check=%(objecttype)", "--batch-all-objects").split()
    assert objects.count("blob") == 2
    assert TOKEN not in (following.folder / "current" / "config").read_text()


def test_nobody_else_may_read_the_clone(following: Following, upstream: Upstream) -> None:
    following.fetch()
    upstream.publish({"d.yaml": spec("d")})
    following.fetch()
    for path in (following.folder / "1.git", *following.folder.rglob("*")):
        assert path.is_symlink() or path.stat().st_mode & 0o077 == 0, path


def test_what_is_new_is_believed_and_nothing_new_changes_nothing(following: Following, upstream: Upstream) -> None:
    first = following.fetch()
    again = following.fetch()
    assert (again.commit, again.packs) == (first.commit, first.packs)
    tip = upstream.publish({"d.yaml": spec("d")})
    assert following.fetch().commit == tip
    assert sorted(following.specs()) == ["a.yaml", "b/c.yaml", "d.yaml"]


def test_a_new_process_goes_on_from_what_is_known(following: Following, upstream: Upstream) -> None:
    known = following.fetch()
    assert following.again().known == known


def test_of_a_branch_that_is_not_named_the_default_one_is_taken_and_kept(
    following: Following, upstream: Upstream
) -> None:
    following.fetch()
    upstream.push(branch="other")
    subprocess.run(["git", "-C", upstream.bare, "symbolic-ref", "HEAD", "refs/heads/other"], check=True)
    assert following.fetch().branch == "main"


def test_a_remote_whose_ids_are_sha_256_is_followed_and_so_is_one_that_changes_to_them(
    tmp_path: Path, following: Following, upstream: Upstream
) -> None:
    assert len(following.fetch().commit) == 40
    other, work = tmp_path / "other.git", tmp_path / "other"
    for options in (["--bare", str(other)], [str(work)]):
        command = ["git", "init", "-q", "-b", "main", "--object-format=sha256", *options]
        subprocess.run(command, check=True, capture_output=True)
    (work / "jobs.d").mkdir()
    (work / "jobs.d" / "a.yaml").write_text(spec("a"))
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    for words in (["add", "-A"], [*who, "commit", "-qm", "first"], ["push", "-q", str(other), "main"]):
        subprocess.run(["git", "-C", str(work), *words], check=True, capture_output=True)
    shutil.rmtree(upstream.bare)
    other.rename(upstream.bare)
    for clone in (following.clone, following.again(), Following(tmp_path / "fresh", upstream.url).clone):
        known = clone.fetch()
        assert (known.trouble, len(known.commit), known.hashed) == ("", 64, "sha256")
        repository = clone.repository()
        assert repository is not None
        assert list(entries(repository, known.commit)) == ["a.yaml"]


def test_a_remote_without_a_default_branch_is_said(tmp_path: Path) -> None:
    url = Upstream(tmp_path).url
    assert Following(tmp_path, url).trouble() == (
        f"{url} cannot be fetched: {url} names no default branch; name one with --branch"
    )


def test_a_branch_that_there_never_was_is_not_kept(following: Following, upstream: Upstream) -> None:
    following.clone = following.again(branch="mian")
    assert following.trouble() == f"{upstream.url} has no branch 'mian'"
    following.clone = following.again()
    assert following.fetch().branch == "main"


def test_a_branch_with_a_slash_and_another_path_can_be_followed(tmp_path: Path, upstream: Upstream) -> None:
    upstream.push(branch="release/1")
    following = Following(tmp_path, upstream.url, branch="release/1", path="jobs.d/b/")
    assert following.fetch().branch == "release/1"
    assert sorted(following.specs()) == ["c.yaml"]


def test_neither_submodules_nor_large_files_are_followed(
    following: Following, upstream: Upstream, tmp_path: Path
) -> None:
    touched = tmp_path / "touched"
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n"
    upstream.write({
        "../.gitmodules": f'[submodule "m"]\n\tpath = jobs.d/m\n\turl = ext::touch {touched}\n',
        "../.gitattributes": "*.yaml filter=lfs diff=lfs merge=lfs -text\n",
        "large.yaml": pointer,
    })  # fmt: skip
    upstream.git("update-index", "--add", "--cacheinfo", f"160000,{upstream.git('rev-parse', 'HEAD')},jobs.d/m")
    upstream.git("add", ".gitmodules", ".gitattributes", "jobs.d/large.yaml")
    upstream.git("commit", "-q", "-m", "more")
    upstream.push()
    assert following.trouble() == ""
    assert following.specs()["large.yaml"] == pointer.encode()
    assert not touched.exists()


def test_the_policy_beside_the_specs_is_fetched_with_them(following: Following, upstream: Upstream) -> None:
    (upstream.top / "policy.yaml").write_text("rules: []\n")
    upstream.publish({"d.yaml": spec("d")})
    known = following.fetch()
    repository = following.clone.repository()
    assert repository is not None
    assert beside_root(repository, known.commit, "policy.yaml") == b"rules: []\n"
    (upstream.top / "policy.yaml").write_text("windows: []\n")
    upstream.commit("the policy alone")
    upstream.push()
    assert beside_root(repository, following.fetch().commit, "policy.yaml") == b"windows: []\n"


def test_nothing_of_the_users_settings_counts(
    following: Following, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hooks").mkdir()
    hook = tmp_path / "hooks" / "reference-transaction"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path / 'hooked'}\n")
    hook.chmod(0o700)
    settings = tmp_path / "settings"
    settings.write_text(f'[core]\n\thooksPath = {hook.parent}\n[url "file:///nowhere/"]\n\tinsteadOf = file://\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_SSH_COMMAND", "false")
    assert following.trouble() == ""
    assert not (tmp_path / "hooked").exists()


# --- who may ----------------------------------------------------------------------------------------------------------


def visible_words() -> str:
    """What anybody sees of every process: its command line; and of our own, its environment."""
    words = b""
    for process in Path("/proc").iterdir():
        for name in ("cmdline", "environ") if process.name.isdigit() else ():
            if int(process.name) == os.getpid() and name == "environ":
                continue
            try:
                words += (process / name).read_bytes()
            except OSError:
                continue
    return words.decode("utf-8", "replace")


def test_a_token_opens_the_remote_and_stands_nowhere(tmp_path: Path, upstream: Upstream) -> None:
    seen: list[str] = []
    with HttpRemote(upstream.bare.parent) as remote:
        remote.ask_for("x-access-token", TOKEN)
        remote.watch = lambda: seen.append(visible_words())
        following = Following(tmp_path, f"{remote.url}/jobs.git", Credentials(password=Secret(TOKEN)))
        assert following.trouble() == ""
    assert "remote-http" in "".join(seen)
    assert TOKEN not in "".join(seen)
    kept = [path for path in following.folder.rglob("*") if path.is_file()]
    assert not [path for path in kept if TOKEN.encode() in path.read_bytes()]


def test_a_user_has_a_password(tmp_path: Path, upstream: Upstream) -> None:
    with HttpRemote(upstream.bare.parent) as remote:
        remote.ask_for("ann", TOKEN)
        url = f"{remote.url}/jobs.git"
        assert Following(tmp_path, url, Credentials(username="ann", password=Secret(TOKEN))).trouble() == ""


def test_a_bearer_token_is_sent_as_such_over_tls(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSL_CAINFO", str(TLS_CERTIFICATE))
    with HttpRemote(upstream.bare.parent, tls=True) as remote:
        remote.authorization = f"Bearer {TOKEN}"
        following = Following(tmp_path, f"{remote.url}/jobs.git", Credentials(bearer=Secret(TOKEN)))
        assert following.trouble() == ""
        following.credentials = Credentials()
        assert "could not read Username" in following.trouble()


def test_a_server_whose_certificate_is_unknown_is_not_spoken_to(tmp_path: Path, upstream: Upstream) -> None:
    with HttpRemote(upstream.bare.parent, tls=True) as remote:
        following = Following(tmp_path, f"{remote.url}/jobs.git", Credentials(password=Secret(TOKEN)))
        assert "certificate" in following.trouble()
        assert not remote.headers


def test_a_wrong_token_keeps_the_last_good_commit_and_is_not_repeated(tmp_path: Path, upstream: Upstream) -> None:
    with HttpRemote(upstream.bare.parent) as remote:
        url = f"{remote.url}/jobs.git"
        following = Following(tmp_path, url, Credentials(password=Secret(TOKEN)))
        remote.ask_for("x-access-token", TOKEN)
        commit = following.fetch().commit
        remote.ask_for("x-access-token", "another")
        known = following.fetch()
        assert known.commit == commit
        assert known.trouble == f"{url} cannot be fetched: Authentication failed for '{url}/'"
        assert TOKEN not in json.dumps(known.trouble)


def test_a_redirect_does_not_take_the_token_along(tmp_path: Path, upstream: Upstream) -> None:
    with HttpRemote(upstream.bare.parent) as remote, HttpRemote(upstream.bare.parent) as thief:
        remote.redirect = thief.url
        thief.ask_for("x-access-token", TOKEN)
        for credentials in (Credentials(password=Secret(TOKEN)), Credentials(bearer=Secret(TOKEN))):
            following = Following(tmp_path, f"{remote.url}/jobs.git", credentials)
            assert following.trouble().startswith(f"{remote.url}/jobs.git cannot be fetched: ")
        assert thief.headers or remote.headers
        assert not [one for one in thief.headers if "authorization" in one]


def test_a_secret_that_cannot_be_had_is_said(tmp_path: Path, upstream: Upstream) -> None:
    def missing() -> Credentials:
        raise Fatal("repo.credentials.token: the environment variable GIT_TOKEN is not set")

    following = Following(tmp_path, upstream.url)
    following.clone._transport.credentials = missing
    assert following.trouble() == (
        f"{upstream.url} cannot be fetched: repo.credentials.token: the environment variable GIT_TOKEN is not set"
    )


def test_what_a_remote_says_is_redacted_and_cut(tmp_path: Path, upstream: Upstream) -> None:
    hook = upstream.bare / "hooks"
    program = tmp_path / "upload-pack"
    program.write_text(f"#!/bin/sh\nprintf '\\033[31m{TOKEN} {'x' * 1000}\\n' >&2\nexit 1\n")
    program.chmod(0o700)
    shutil.rmtree(hook)
    following = Following(tmp_path, upstream.url, Credentials(password=Secret(TOKEN)))
    with following.clone._transport.session() as session, pytest.raises(Exception) as caught:
        session.run(upstream.bare, "ls-remote", f"--upload-pack={program}", upstream.url)
    said = str(caught.value)
    assert said.startswith("'git ls-remote' failed: ?[31m*** xxx")
    assert len(said) < 400


# --- ssh and git ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ssh, str]]:
    made = Ssh(tmp_path_factory.mktemp("ssh") / "d")
    with made.serving() as url:
        yield made, url


def test_a_key_opens_the_remote_over_ssh_and_does_not_stay(
    tmp_path: Path, upstream: Upstream, ssh: tuple[Ssh, str]
) -> None:
    server, url = ssh
    credentials = Credentials(ssh_key=Secret(server.client_key), known_hosts=server.known_hosts)
    following = Following(tmp_path, f"{url}{upstream.bare}", credentials)
    known = following.fetch()
    assert (known.trouble, known.plain) == ("", False)
    assert sorted(following.specs()) == ["a.yaml", "b/c.yaml"]
    assert not [path for path in following.folder.rglob("*") if path.name in ("key", "known_hosts")]


def test_a_key_lies_in_a_private_file_while_ssh_runs(
    tmp_path: Path, upstream: Upstream, ssh: tuple[Ssh, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = ssh
    (tmp_path / "bin").mkdir()
    spy = tmp_path / "bin" / "ssh"
    spy.write_text(
        f'#!/bin/sh\nstat -c "%a %n" {tmp_path}/clone/session-*/* {tmp_path}/clone/session-* >> {tmp_path}/seen\nexit 1\n'
    )
    spy.chmod(0o700)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    credentials = Credentials(ssh_key=Secret(server.client_key), known_hosts=server.known_hosts)
    assert Following(tmp_path, f"{url}{upstream.bare}", credentials).trouble()
    seen = [line.split()[0] for line in (tmp_path / "seen").read_text().splitlines()]
    assert seen == ["600", "600", "700"]
    assert not list((tmp_path / "clone").glob("session-*"))


def test_a_host_that_is_not_known_is_not_trusted(tmp_path: Path, upstream: Upstream, ssh: tuple[Ssh, str]) -> None:
    server, url = ssh
    credentials = Credentials(ssh_key=Secret(server.client_key), known_hosts="elsewhere ssh-ed25519 AAAA\n")
    assert (
        Following(tmp_path, f"{url}{upstream.bare}", credentials)
        .trouble()
        .endswith(
            "cannot be fetched: No ED25519 host key is known for "
            f"[127.0.0.1]:{server.port} and you have requested strict checking"
        )
    )


def test_a_key_that_is_not_let_in_is_said(tmp_path: Path, upstream: Upstream, ssh: tuple[Ssh, str]) -> None:
    server, url = ssh
    other = Ssh(tmp_path / "other")
    credentials = Credentials(ssh_key=Secret(other.client_key), known_hosts=server.known_hosts)
    following = Following(tmp_path, f"{url}{upstream.bare}", credentials)
    assert following.trouble().endswith("Permission denied (publickey)")


def test_a_server_that_gives_no_single_files_gives_all_of_them(tmp_path: Path, upstream: Upstream) -> None:
    """Without GIT_PROTOCOL in its environment a server speaks the old protocol."""
    server = Ssh(tmp_path / "ssh", accepts="")
    credentials = Credentials(ssh_key=Secret(server.client_key), known_hosts=server.known_hosts)
    with server.serving() as url:
        following = Following(tmp_path, f"{url}{upstream.bare}", credentials)
        known = following.fetch()
        assert (known.trouble, known.plain) == ("", True)
        tip = upstream.publish({"a.yaml": spec("a", x="2")})
        known = following.fetch()
        assert (known.trouble, known.commit) == ("", tip)
        assert following.specs()["a.yaml"] == spec("a", x="2").encode()


def test_git_daemon_is_spoken_to_on_this_machine(tmp_path: Path, upstream: Upstream) -> None:
    with git_daemon(upstream.bare.parent) as url:
        assert Following(tmp_path, f"{url}/jobs.git").trouble() == ""


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_remote_that_is_gone_leaves_the_last_good_commit_until_it_is_back(
    following: Following, upstream: Upstream
) -> None:
    commit = following.fetch().commit
    away = upstream.bare.rename(upstream.bare.with_name("away"))
    known = following.fetch()
    assert (known.commit, known.reached) == (commit, False)
    assert (
        known.trouble == f"{upstream.url} cannot be fetched: '{upstream.bare}' does not appear to be a git repository"
    )
    assert known.trouble_ms > 0
    assert following.again().fetch().trouble_ms == known.trouble_ms
    assert sorted(following.specs()) == ["a.yaml", "b/c.yaml"]
    away.rename(upstream.bare)
    known = following.fetch()
    assert (known.trouble, known.trouble_ms, known.reached) == ("", 0, True)


def test_a_port_where_nobody_listens_is_said(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/jobs.git"
    trouble = Following(tmp_path, url, branch="main").trouble()
    assert trouble.startswith(f"{url} cannot be fetched: unable to access '{url}/': Failed to connect to 127.0.0.1")


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses_is_said(tmp_path: Path, upstream: Upstream, status: int) -> None:
    with HttpRemote(upstream.bare.parent) as remote:
        following = Following(tmp_path, f"{remote.url}/jobs.git")
        commit = following.fetch().commit
        remote.status = status
        known = following.fetch()
    assert known.commit == commit
    assert known.trouble.startswith(f"{remote.url}/jobs.git cannot be fetched: ")


def test_a_branch_that_vanished_leaves_the_last_good_commit(following: Following, upstream: Upstream) -> None:
    commit = following.fetch().commit
    subprocess.run(["git", "-C", upstream.bare, "update-ref", "-d", "refs/heads/main"], check=True)
    known = following.fetch()
    assert (known.commit, known.trouble) == (commit, f"{upstream.url} has no branch 'main'")
    assert sorted(following.specs()) == ["a.yaml", "b/c.yaml"]


def test_a_forced_push_is_the_new_state_and_what_it_replaced_is_said(following: Following, upstream: Upstream) -> None:
    first = following.fetch().commit
    second = upstream.publish({"a.yaml": spec("a", x="1")})
    assert following.fetch().replaced == ""
    upstream.git("reset", "-q", "--hard", first)
    upstream.write({"d.yaml": spec("d")})
    forced = upstream.commit("other")
    upstream.push("--force")
    known = following.fetch()
    assert (known.commit, known.replaced, known.trouble) == (forced, second, "")
    assert sorted(following.specs()) == ["a.yaml", "b/c.yaml", "d.yaml"]
    assert following.fetch().replaced == second
    upstream.publish({"e.yaml": spec("e")})
    assert following.fetch().replaced == ""


def test_a_commit_without_specs_is_refused_by_name(following: Following, upstream: Upstream) -> None:
    commit = following.fetch().commit
    shutil.rmtree(upstream.root)
    (upstream.top / "README.md").write_text("nothing\n")
    empty = upstream.commit("empty", author="Bob")
    upstream.push()
    known = following.fetch()
    assert (known.commit, known.reached) == (commit, True)
    assert known.trouble == f"commit {empty[:12]} by Bob <bob@example.com> is refused: it holds no spec below jobs.d/"
    assert sorted(following.specs()) == ["a.yaml", "b/c.yaml"]


def test_a_wrong_path_is_refused(tmp_path: Path, upstream: Upstream) -> None:
    known = Following(tmp_path, upstream.url, path="jobs/").fetch()
    assert known.commit == ""
    assert known.trouble.endswith("by Ann <ann@example.com> is refused: it holds no spec below jobs/")


def test_a_commit_that_the_keys_refuse_leaves_the_last_good_one(following: Following, upstream: Upstream) -> None:
    first = following.fetch().commit
    second = upstream.publish({"a.yaml": spec("a", x="1")}, author="Eve")
    following.refused[second] = "it is not signed"
    known = following.fetch()
    assert known.commit == first
    assert known.trouble == f"commit {second[:12]} by Eve <eve@example.com> is refused: it is not signed"
    assert following.specs()["a.yaml"] == spec("a").encode()
    third = upstream.publish({"a.yaml": spec("a", x="2")})
    assert (following.fetch().commit, following.clone.known.trouble) == (third, "")


def test_a_first_commit_that_the_keys_refuse_is_not_cloned_again_and_again(
    following: Following, upstream: Upstream
) -> None:
    tip = upstream.git("rev-parse", "HEAD")
    following.refused[tip] = "it is not signed"
    assert following.fetch().commit == ""
    assert following.clone.repository() is None
    before = following.clone.git_dir.resolve()
    following.fetch()
    assert following.clone.git_dir.resolve() == before
    del following.refused[tip]
    assert following.fetch().commit == tip
    assert following.clone.git_dir.resolve() == before


# --- a clone that is damaged ------------------------------------------------------------------------------------------


def packs(following: Following) -> list[Path]:
    return sorted((following.clone.git_dir / "objects" / "pack").glob("*.pack"))


def truncated(following: Following) -> None:
    for pack in packs(following):
        pack.chmod(0o600)
        with pack.open("r+b") as file:
            file.truncate(20)


def without_packs(following: Following) -> None:
    shutil.rmtree(following.clone.git_dir / "objects" / "pack")


def without_head(following: Following) -> None:
    (following.clone.git_dir / "HEAD").unlink()


def gone(following: Following) -> None:
    shutil.rmtree(following.clone.git_dir.resolve())


def swapped(following: Following) -> None:
    """Another repository in its place."""
    real = following.clone.git_dir.resolve()
    shutil.rmtree(real)
    subprocess.run(["git", "init", "-q", "--bare", real], check=True)


@pytest.mark.parametrize("damage", [truncated, without_packs, without_head, gone, swapped])
def test_a_damaged_clone_is_replaced_by_a_new_one(following: Following, upstream: Upstream, damage: Any) -> None:
    commit = following.fetch().commit
    before = following.clone.git_dir.resolve()
    damage(following)
    known = following.fetch()
    assert (known.trouble, known.commit) == ("", commit)
    assert following.clone.git_dir.resolve() != before
    assert sorted(following.specs()) == ["a.yaml", "b/c.yaml"]
    following.fetch()
    assert not before.exists()


def test_a_damaged_clone_serves_on_as_far_as_it_can_while_the_remote_is_gone(
    following: Following, upstream: Upstream
) -> None:
    commit = following.fetch().commit
    without_packs(following)
    away = upstream.bare.rename(upstream.bare.with_name("away"))
    known = following.fetch()
    assert (known.commit, known.reached) == (commit, False)
    away.rename(upstream.bare)
    assert following.fetch().trouble == ""
    assert sorted(following.specs()) == ["a.yaml", "b/c.yaml"]


def test_a_damaged_clone_whose_newest_commit_is_refused_still_has_the_last_good_one(
    following: Following, upstream: Upstream
) -> None:
    commit = following.fetch().commit
    tip = upstream.publish({"a.yaml": spec("a", x="1")})
    following.refused[tip] = "it is not signed"
    truncated(following)
    known = following.fetch()
    assert known.commit == commit
    assert known.trouble.endswith("is refused: it is not signed")
    assert following.specs()["a.yaml"] == spec("a").encode()


def test_a_note_of_what_is_known_that_cannot_be_read_costs_a_clone(following: Following) -> None:
    commit = following.fetch().commit
    (following.folder / KNOWN_NAME).write_text("{")
    following.clone = following.again()
    assert following.clone.known.commit == ""
    assert following.fetch().commit == commit


def test_another_remote_is_cloned_anew_and_nothing_of_the_old_one_is_believed(
    following: Following, tmp_path: Path
) -> None:
    following.fetch()
    (tmp_path / "other").mkdir()
    other = Upstream(tmp_path / "other")
    tip = other.publish({"z.yaml": spec("z")})
    following.address = address_of(other.url, "/")
    following.clone = following.again()
    assert following.clone.known.commit == ""
    assert following.clone.repository() is None
    assert following.fetch().commit == tip
    assert sorted(following.specs()) == ["z.yaml"]


def test_many_fetches_are_tidied_and_read_on(following: Following, upstream: Upstream) -> None:
    (following.folder / "gitconfig").touch()
    for number in range(6):
        upstream.publish({f"n{number}.yaml": spec(f"n{number}")})
        assert following.trouble() == ""
    with following.clone._transport.session() as session:
        session.run(
            following.clone.git_dir, "-c", "remote.origin.promisor=true", "-c",
            "remote.origin.partialclonefilter=blob:none", "-c", "gc.autoPackLimit=2", "gc", "--auto", "--quiet",
        )  # fmt: skip
    assert len(packs(following)) <= 2
    tip = upstream.publish({"last.yaml": spec("last")})
    assert (following.fetch().commit, len(following.specs())) == (tip, 9)


# --- others -----------------------------------------------------------------------------------------------------------


def test_a_fetch_that_hangs_is_ended_when_the_clone_is_closed(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        following = Following(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}/jobs.git", branch="main")
        found: list[Known] = []
        thread = threading.Thread(target=lambda: found.append(following.fetch()))
        thread.start()
        connection, _ = silent.accept()
        following.clone.close()
        thread.join(60)
        connection.close()
    assert found[0].trouble.endswith("cannot be fetched: 'git fetch' was interrupted")
    assert following.fetch().trouble.endswith("cannot be fetched: The clone is closed")


def test_while_another_process_fetches_what_is_known_is_taken(following: Following, upstream: Upstream) -> None:
    import fcntl

    known = following.fetch()
    upstream.publish({"d.yaml": spec("d")})
    with (following.folder / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert following.clone.fetch(patient=False) == known
    assert following.clone.fetch(patient=False).commit != known.commit


def test_what_a_killed_session_left_is_removed(following: Following) -> None:
    left = following.folder / "session-killed"
    left.mkdir(parents=True)
    (left / "key").write_text("secret")
    following.fetch()
    assert not left.exists()


def test_a_disk_that_refuses_is_said(following: Following, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = following.fetch().commit
    upstream.publish({"d.yaml": spec("d")})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Clone, "_settle", full)
    known = following.fetch()
    assert (known.commit, known.trouble) == (
        commit, f"{upstream.url} cannot be fetched: the disk refuses: No space left on device",
    )  # fmt: skip
