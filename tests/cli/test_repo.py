"""`--repo` and `repo:` as the command line takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.cli.options import call_of
from reconciler.record.store import Record
from tests.cli.conftest import STREAM, World, job_text
from tests.ports import free_port
from tests.repo.remotes import Upstream
from tests.repo.signing import Signers
from tests.repo.worktree import WorkTree, spec


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    (tmp_path / "up").mkdir()
    made = Upstream(tmp_path / "up")
    made.publish({"orders.yaml": STREAM + job_text("import-orders")})
    return made


def operator_file(world: World, **told: object) -> None:
    (world.folder / "reconciler.yaml").write_text(json.dumps(told))


def test_a_plan_of_a_repository_needs_no_folder_and_makes_no_record(world: World, upstream: Upstream) -> None:
    world.root.rmdir()
    done = world.run("plan", "--repo", upstream.url, "--data-root", ".")
    assert done.code == 0, done.err
    assert "+ create Job import-orders" in done.out
    assert not (world.folder / ".reconciler" / "record.db").exists()


def test_the_record_lies_beside_the_settings_and_other_commands_find_it(world: World, upstream: Upstream) -> None:
    operator_file(world, repo={"url": str(upstream.bare), "branch": "main"}, dataRoot=".")
    assert world.run().code == 0
    assert (world.folder / ".reconciler" / "record.db").is_file()
    assert (world.folder / ".reconciler").stat().st_mode & 0o777 == 0o700
    assert (world.folder / ".reconciler" / "status" / "import-orders.status.yaml").is_file()
    assert world.run("list", "-o", "name").out == "import-orders\n"
    assert world.run("plan").out == "No changes. The record is what the specs declare.\n"
    elsewhere = world.run("plan", "--state", "other")
    assert "+ create Job import-orders" in elsewhere.out


def test_an_option_wins_over_the_file(world: World, upstream: Upstream) -> None:
    upstream.push(branch="other")
    operator_file(world, repo={"url": upstream.url, "branch": "main", "path": "nowhere", "interval": "5m"})
    call = call_of({"root": Path("jobs.d"), "branch": "other", "path": "./jobs.d/", "interval": "10s"})
    followed = call.followed
    assert followed is not None
    assert (followed.branch, followed.prefix, followed.interval_ms) == ("other", "jobs.d/", 10_000)
    assert call.watched == f"jobs.d in other of {upstream.url}"
    assert call_of({"root": Path("jobs.d"), "source": "git:main"}).followed is None


def test_errors_of_specs_are_told_at_their_place_in_the_repository(world: World, upstream: Upstream) -> None:
    upstream.publish({"orders.yaml": STREAM + job_text("import-orders").replace("jobType", "jobTipe")})
    done = world.run("validate", "--repo", upstream.url, "--data-root", ".")
    assert done.code == 1
    assert done.out.startswith("jobs.d/orders.yaml:")
    done = world.run("plan", "--repo", upstream.url, "--path", "jobs.d/nowhere")
    assert done.code == 2
    assert done.err.endswith("is refused: it holds no spec below jobs.d/nowhere/\n")


def test_a_pause_of_what_is_in_a_repository_is_the_change_to_commit(world: World, upstream: Upstream) -> None:
    done = world.run("pause", "import-orders", "--repo", upstream.url, "--branch", "main", "--data-root", ".")
    assert done.code == 0, done.err
    assert "+++ b/jobs.d/orders.yaml" in done.out
    assert "once this is committed to main" in done.err
    done = world.run("pause", "import-orders", "--repo", upstream.url, "--data-root", ".")
    assert done.err.endswith("import-orders: it is paused once this is committed to main\n"), (
        "the default branch has a name"
    )


def test_what_a_rewritten_history_never_held_is_deleted_by_the_commit_that_is_desired_now(
    world: World, upstream: Upstream
) -> None:
    options = ("--repo", upstream.url, "--data-root", ".")
    first = upstream.git("rev-parse", "HEAD")
    upstream.publish({"more.yaml": job_text("second")})
    assert world.run(*options).code == 0
    upstream.git("reset", "-q", "--hard", first)
    upstream.push("--force")
    assert f"second  Deleted  no file declares it  ({first[:12]})\n" in world.run(*options).out
    last = json.loads(world.run("history", "second", "-o", "json", *options).out.splitlines()[-1])
    assert (last["action"], last["author"], last["commit"]) == ("delete", None, first)


def test_a_wrong_path_that_holds_some_of_the_specs_deletes_nothing(world: World, upstream: Upstream) -> None:
    options = ("--repo", upstream.url, "--data-root", ".")
    upstream.publish({"sub/more.yaml": STREAM.replace("orders", "others") + job_text("second")})
    assert world.run(*options).code == 0
    ended = world.run(*options, "--path", "jobs.d/sub")
    assert ended.code == 5
    assert (
        "the specs come from jobs.d/sub/ now, and came from jobs.d/ before, which always needs an approval" in ended.err
    )
    assert world.run("list", "-o", "name", *options).out == "import-orders\nsecond\n"


def test_a_repository_that_was_never_fetched_cannot_be_followed(world: World) -> None:
    url = f"http://127.0.0.1:{free_port()}/jobs.git"
    done = world.run("--repo", url, "--branch", "main")
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(f"Error: {url} cannot be fetched: unable to access '{url}/'")


def test_without_the_network_the_last_good_revision_stays_and_the_exit_code_tells(
    world: World, upstream: Upstream
) -> None:
    options = ("--repo", upstream.url, "--data-root", ".")
    assert world.run(*options).code == 0
    upstream.bare.rename(upstream.bare.with_name("away"))
    done = world.run(*options)
    assert done.code == 1
    assert "jobs.d:1:1: error: the last good revision stays, main@sha1:" in done.err
    assert f"{upstream.url} cannot be fetched: " in done.err
    assert world.run("list", "-o", "name", *options).out == "import-orders\n"
    done = world.run("plan", *options)
    assert (done.code, done.out) == (1, "No changes, but the newest specs cannot be read.\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--branch", "main"), "--branch goes with --repo"),
        (("--path", "jobs.d"), "--path goes with --repo"),
        (("--interval", "1m"), "--interval goes with --repo"),
        (("--repo", "x", "--source", "git:main"), "--source and --repo exclude each other"),
        (("--repo", "x", "--interval", "often"), "--interval: expected a duration such as 30s, 15m, 1h30m or 7d, found 'often'"),
        (("--repo", "x", "--interval", "1ms"), "--interval: expected a duration from 1s to 1d, found '1ms'"),
        (("--repo", "x", "--branch", "a..b"), "'a..b' is no name of a branch"),
        (("--repo", "x", "--path", "../x"), "'../x' is no folder within the repository; write it from the top, for example jobs.d"),
        (("--repo", "ext::sh"), "the repository's URL names a git helper ('::'), which is a command to run; it is not accepted"),
        (("--repo=--upload-pack=x",), "the repository's URL begins with '-' and looks like an option"),
        (("--repo", "https://ann:hunter2@git.example.com/jobs"), "the repository's URL holds a user or a secret; take it out, and refer to it in repo.credentials (reconciler.yaml), for example token: {env: GIT_TOKEN}"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_no_secret_is_repeated(
    world: World, options: tuple[str, ...], message: str
) -> None:
    for command in ((), ("plan",), ("list",)):
        done = world.run(*command, *options)
        assert (done.code, done.err) == (2, f"Error: {message}\n")
        assert "hunter2" not in done.out + done.err


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"repo": {"url": "git@git.example.com:jobs", "credentials": {"token": {"env": "X"}}}},
         "repo.credentials.token goes with https, and git@git.example.com:jobs is reached over ssh"),
        ({"repo": {"url": "/srv/jobs", "credentials": {"sshKey": {"file": "x"}}}},
         "repo.credentials.sshKey goes with ssh, and /srv/jobs is on this machine"),
        ({"verify": {"keys": ["x"]}},
         "verify: only commits are signed; name one with --source git:REF, or a repository with --repo"),
        ({"repo": {"url": "/srv/jobs"}, "verify": {"keys": ["x"]}},
         "verify.keys[0]: the file 'x' cannot be read: No such file or directory"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(world: World, told: dict[str, object], message: str) -> None:
    operator_file(world, **told)
    done = world.run()
    assert (done.code, done.err) == (2, f"Error: {message}\n")


def test_the_files_credentials_are_not_given_to_another_site(world: World) -> None:
    operator_file(world, repo={"url": "https://git.example.com/jobs", "credentials": {"token": {"env": "X"}}})
    done = world.run("plan", "--repo", "https://git.example.org/jobs")
    assert (done.code, done.err) == (
        2,
        "Error: --repo leads elsewhere than repo.url, https://git.example.com/jobs, whose credentials it would be given\n",
    )


def test_a_secret_that_is_not_there_is_named_by_its_reference(world: World) -> None:
    operator_file(world, repo={"url": "https://git.example.com/jobs", "branch": "main", "credentials": {"token": {"env": "NOWHERE"}}})  # fmt: skip
    done = world.run("plan")
    assert (done.code, done.err) == (
        2,
        "Error: https://git.example.com/jobs cannot be fetched: repo.credentials.token: the environment variable NOWHERE "
        "is not set\n",
    )


def test_source_and_repo_exclude_each_other_in_the_file(world: World) -> None:
    operator_file(world, source="git:main", repo={"url": "/srv/jobs"})
    done = world.run()
    assert (done.code, done.err) == (1, "reconciler.yaml:1:2: error: source: expected source or repo, found both\n")


def test_validate_and_a_plan_of_a_merge_are_about_the_files_here_unless_an_option_says_otherwise(world: World) -> None:
    """In CI, where the repository that a daemon follows is checked out."""
    operator_file(world, repo={"url": "https://git.example.com/jobs"})
    world.write("orders.yaml", STREAM)
    assert world.run("validate").out == "2 files checked; no problems.\n"
    (world.root / "orders.yaml").rename(world.folder / "orders.yaml")
    world.root.rmdir()
    done = world.run("validate")
    assert (done.code, done.err.endswith(", or the repository that reconciler.yaml follows with --repo URL\n")) == (
        2,
        True,
    )
    world.root.mkdir()
    done = world.run("plan", "--base", "main")
    assert (done.code, "cannot be fetched" in done.err) == (2, False)


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.fixture
def signers(tmp_path: Path) -> Iterator[Signers]:
    made = Signers(tmp_path / "signers")
    yield made
    made.close()


def streams(state: Path) -> list[str]:
    with Record.reading(state) as record:
        return [one.name for one in record.resources.resources("Stream")]


def test_only_signed_commits_of_a_repository_are_made_true(world: World, tmp_path: Path, signers: Signers) -> None:
    (tmp_path / "up").mkdir()
    upstream = Upstream(tmp_path / "up")
    (world.folder / "ann.asc").write_text(signers.gpg_key("Ann"))
    upstream.write({"a.yaml": spec("one")})
    signed = signers.commit(upstream, gpg="Ann")
    upstream.push()
    operator_file(world, repo={"url": upstream.url}, verify={"keys": "ann.asc"})
    state = world.folder / ".reconciler"
    assert world.run().code == 0
    unsigned = upstream.publish({"b.yaml": spec("two")}, author="Eve")
    for _ in range(2):  # by the same process, and by one that has judged nothing yet
        done = world.run()
        assert done.code == 1
        assert done.err == (
            f"jobs.d:1:1: error: the last good revision stays, main@sha1:{signed}: commit {unsigned[:12]} by Eve "
            "<eve@example.com> is refused: it is not signed\n"
        )
    assert streams(state) == ["one"]
    upstream.write({"c.yaml": spec("three")})
    signers.commit(upstream, gpg="Ann")
    upstream.push()
    assert world.run().code == 0
    assert streams(state) == ["one", "three", "two"]


def test_only_signed_commits_of_the_repository_here_are_made_true(world: World, signers: Signers) -> None:
    tree = WorkTree(world.folder)
    operator_file(world, verify={"keys": [signers.ssh_key("sue")]})
    tree.write({"a.yaml": spec("one")})
    signed = signers.commit(tree, ssh="sue")
    assert world.run("--source", "git:main").code == 0
    tree.write({"b.yaml": spec("two")})
    unsigned = tree.commit(author="Eve")
    done = world.run("--source", "git:main")
    assert done.code == 1
    assert (
        f"main@sha1:{signed}: commit {unsigned[:12]} by Eve <eve@example.com> is refused: it is not signed" in done.err
    )
    assert streams(world.state) == ["one"]


def test_before_any_commit_was_accepted_a_refused_one_is_an_error(world: World, signers: Signers) -> None:
    tree = WorkTree(world.folder)
    operator_file(world, verify={"keys": [signers.ssh_key("sue")]})
    tree.write({"a.yaml": spec("one")})
    commit = tree.commit(author="Eve")
    done = world.run("--source", "git:main")
    assert (done.code, done.err) == (
        2,
        f"Error: commit {commit[:12]} by Eve <eve@example.com> is refused: it is not signed\n",
    )
