"""The sections `repo:` and `verify:` of `reconciler.yaml`: the repository that is cloned, and whose signatures count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, model_validator
from pydantic.alias_generators import to_camel

from reconciler.core.issue import both_of
from reconciler.core.remote import address_of, check_branch, prefix_of
from reconciler.core.spec import Model, Reference
from reconciler.core.spec_types import Line, duration, refusal, string, text_of
from reconciler.core.words import DAY_MS, MINUTE_MS, SECOND_MS
from reconciler.errors import UsageError

MAX_KEYS: Final = 100
MAX_KEY: Final = 1 << 16


def _checked(check: Callable[[str], object]) -> Callable[[Any], str]:
    """A text that `check` does not refuse; what it is, is not repeated, because a secret may stand in it."""

    def read(value: Any) -> str:
        text = text_of(value)
        try:
            check(text)
        except UsageError as error:
            raise refusal(str(error)) from None
        return text

    return read


def _read_key(value: Any) -> str:
    """A key, or where it is: a path alone means the same as `{file: PATH}`."""
    if isinstance(value, dict) and value.keys() == {"file"}:
        value = value["file"]
    text = text_of(value, "a public key or the path of a file of keys")
    if not text.strip() or len(text) > MAX_KEY:
        raise refusal(f"expected a public key, or the path of a file of keys, of 1 to {MAX_KEY:,} characters")
    return text


def _as_list(value: Any) -> Any:
    """One key stands for a list of one."""
    return [value] if isinstance(value, (str, dict)) else value


Url = Annotated[str, string(_checked(lambda text: address_of(text, "/")), minLength=1, maxLength=2_000)]
Branch = Annotated[str, string(_checked(check_branch), maxLength=200)]
Within = Annotated[str, string(_checked(prefix_of), maxLength=4_096)]
Key = Annotated[str, string(_read_key, minLength=1, maxLength=MAX_KEY)]


class RepoCredentials(Model):
    """How the repository lets us in: a token or a user's password over https, a key over ssh. Only references."""

    token: Reference | None = Field(None, description="A token, sent as the password (https).")
    username: Line = Field("", description="The user beside a token or password; `x-access-token` where none is named.")
    password: Reference | None = Field(None, description="A user's password (https).")
    bearer: Reference | None = Field(None, description="A token, sent as `Authorization: Bearer` (https).")
    ssh_key: Reference | None = Field(None, description="A private key without a passphrase (ssh).")
    known_hosts: Reference | None = Field(
        None,
        description="The host's public key, as lines of known_hosts (ssh); the user's own file where none is named.",
    )

    @model_validator(mode="after")
    def _is_one(self) -> RepoCredentials:
        ways = sorted(self.model_fields_set & {"token", "password", "bearer", "ssh_key"})
        if len(ways) > 1:
            raise refusal(f"expected one of token, password, bearer or sshKey, found {both_of(map(to_camel, ways))}")
        if self.password is not None and not self.username:
            raise refusal("a password needs the username that it is for", "password", on_key=True)
        return self


class RepoSection(Model):
    """The repository that is cloned."""

    url: Url = Field(
        description="https, ssh, or the path of one on this machine; never with a secret in it, as --repo."
    )
    branch: Branch = Field("", description="The branch, as --branch; the remote's default one where none is named.")
    path: Within = Field("jobs.d", description="The folder of the specs within the repository, as --path.")
    interval: Annotated[int, duration(SECOND_MS, DAY_MS, "60s")] = Field(
        MINUTE_MS, description="How often it is fetched, as --interval."
    )
    credentials: RepoCredentials | None = Field(None, description="What opens it.")


class VerifySection(Model):
    """Which commits may be the desired state."""

    keys: Annotated[list[Key], BeforeValidator(_as_list), Field(min_length=1, max_length=MAX_KEYS)] = Field(
        description="Public keys of GPG and SSH, or files that hold them: only commits signed with one are accepted."
    )
