"""What follows a repository elsewhere, put together from the operator's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.controller.opening import open_controller
from reconciler.controller.orders import secret_variables
from reconciler.controller.remotes import _credentials
from reconciler.controller.settings import Followed, Settings
from reconciler.core.remote import address_of
from reconciler.errors import Fatal
from tests.repo.remotes import Upstream
from tests.repo.worktree import spec


def following(folder: Path, url: str, **credentials: dict[str, str]) -> Settings:
    followed = Followed(address=address_of(url, "/"), prefix="jobs.d/", username="ann", credentials=credentials)
    state = folder / "state"
    return Settings(
        root=Path("jobs.d"),
        state=state,
        status_dir=state / "status",
        source="git:HEAD",
        followed=followed,
        folder=folder,
    )


def test_secrets_are_read_from_the_folder_of_the_settings(tmp_path: Path) -> None:
    for name in ("key", "hosts"):
        (tmp_path / name).write_text(f"{name} of ours\nin two lines\n")
    settings = following(tmp_path, "git@host:jobs", sshKey={"file": "key"}, knownHosts={"file": "hosts"})
    assert settings.followed is not None
    found = _credentials(settings, settings.followed)
    assert found.ssh_key is not None
    assert (found.ssh_key.reveal(), found.known_hosts) == ("key of ours\nin two lines", "hosts of ours\nin two lines")
    assert "key of ours" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"), [("token", "a\nhost=elsewhere"), ("password", "a\rb"), ("bearer", 'a" b'), ("bearer", "a\nb")]
)
def test_a_secret_that_would_say_more_to_git_than_itself_is_refused(tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / "secret").write_text(value)
    settings = following(tmp_path, "https://host/jobs", **{name: {"file": "secret"}})
    assert settings.followed is not None
    with pytest.raises(Fatal) as caught:
        _credentials(settings, settings.followed)
    assert str(caught.value) == f"repo.credentials.{name}: the value holds a character that no such secret has"


def test_no_run_finds_the_secrets_of_the_repository_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = Upstream(tmp_path)
    upstream.publish({"a.yaml": spec("a")})
    settings = following(tmp_path, "ssh://git@127.0.0.1/jobs", sshKey={"env": "GIT_KEY"})
    settings = Settings(**{name: getattr(settings, name) for name in settings.__slots__} | {"source": "", "followed": settings.followed, "root": upstream.root})  # fmt: skip
    with open_controller(settings) as controller:
        assert secret_variables(controller._hands) == ("GIT_KEY",)
