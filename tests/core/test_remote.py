"""Addresses of repositories: what git may be given, and what is refused without repeating a secret."""

from __future__ import annotations

import pytest

from reconciler.core.remote import Address, address_of, check_branch, prefix_of
from reconciler.errors import UsageError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://git.example.com/team/jobs.git", Address("https://git.example.com/team/jobs.git", "https", "git.example.com")),
        ("https://git.example.com:8443/jobs", Address("https://git.example.com:8443/jobs", "https", "git.example.com:8443")),
        ("ssh://git@git.example.com:2222/jobs", Address("ssh://git@git.example.com:2222/jobs", "ssh", "git.example.com:2222")),
        ("git@git.example.com:team/jobs.git", Address("git@git.example.com:team/jobs.git", "ssh", "git.example.com")),
        ("ssh://[::1]:22/jobs", Address("ssh://[::1]:22/jobs", "ssh", "[::1]:22")),
        ("file:///srv/jobs.git", Address("file:///srv/jobs.git", "file")),
        ("/srv/jobs.git", Address("/srv/jobs.git", "file")),
        ("../jobs.git", Address("/srv/jobs.git", "file")),
        ("http://127.0.0.1:8080/jobs", Address("http://127.0.0.1:8080/jobs", "http", "127.0.0.1:8080")),
        ("http://localhost/jobs", Address("http://localhost/jobs", "http", "localhost")),
        ("git://[::1]/jobs", Address("git://[::1]/jobs", "git", "[::1]")),
    ],
)  # fmt: skip
def test_an_address_is_taken(text: str, address: Address) -> None:
    assert address_of(text, "/srv/here") == address


def test_credentials_are_for_a_site() -> None:
    assert address_of("https://git.example.com:8443/jobs", "/").site == "https://git.example.com:8443"


_MALFORMED = "the repository's URL cannot be read: its host or user is malformed"
_SECRET = (
    "the repository's URL holds a user or a secret; take it out, and refer to it in repo.credentials "
    "(reconciler.yaml), for example token: {env: GIT_TOKEN}"
)
_HELPER = "the repository's URL names a git helper ('::'), which is a command to run; it is not accepted"
_OPTION = "the repository's URL begins with '-' and looks like an option"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the repository's URL is empty, longer than 2,000 characters, or not printable"),
        ("https://a/\nb", "the repository's URL is empty, longer than 2,000 characters, or not printable"),
        (" https://a/b", "the repository's URL is empty, longer than 2,000 characters, or not printable"),
        ("--upload-pack=touch x", _OPTION),
        ("-oProxyCommand=x:y", _OPTION),
        ("ext::sh -c touch% x", _HELPER),
        ("::x", _HELPER),
        ("fd::17", _HELPER),
        ("https://ann:hunter2@git.example.com/jobs", _SECRET),
        ("https://hunter2@git.example.com/jobs", _SECRET),
        ("ssh://git:hunter2@git.example.com/jobs", _SECRET),
        ("https://git.example.com/jobs?token=hunter2", "the repository's URL has a query or a fragment; git takes neither, and a secret may stand in it"),
        ("https://git.example.com", "the repository's URL names no repository: its path is missing"),
        ("ssh://-oProxyCommand=x/jobs", _MALFORMED),
        ("-x@host:jobs", _OPTION),
        ("git@-oProxyCommand=x:jobs", _MALFORMED),
        ("ssh://-x@git.example.com/jobs", _MALFORMED),
        ("git.example.com:-x", "the path in the repository's URL begins with '-' and looks like an option"),
        ("https://a:port/jobs", "the repository's URL cannot be read: its host or port is malformed"),
        ("ftp://git.example.com/jobs", "repositories are not cloned over 'ftp'; use https, ssh, or the path of one on this machine"),
        ("HTTPX://a/b", "repositories are not cloned over 'httpx'; use https, ssh, or the path of one on this machine"),
        ("http://git.example.com/jobs", "'http' is neither private nor signed: anyone on the way could change what is desired; use https or ssh"),
        ("git://10.0.0.1/jobs", "'git' is neither private nor signed: anyone on the way could change what is desired; use https or ssh"),
        ("file://host/jobs", "a file: URL is file:/// and an absolute path"),
    ],
)  # fmt: skip
def test_any_other_is_refused_and_no_secret_is_repeated(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        address_of(text, "/srv/here")
    assert str(caught.value) == message
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["main", "release/2026", "a.b", "ünï"])
def test_a_branch_has_a_name(name: str) -> None:
    check_branch(name)


@pytest.mark.parametrize(
    "name", ["", "-x", "a..b", "a b", "a~1", "HEAD", "a.lock", "a/", "/a", ".a", "a/.b", "a@{1}", "a:b", "@", "x" * 201]
)
def test_what_is_no_name_of_a_branch_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no name of a branch"):
        check_branch(name)


@pytest.mark.parametrize(
    ("path", "prefix"), [("", ""), (".", ""), ("./", ""), ("jobs.d", "jobs.d/"), ("./a//b/", "a/b/")]
)
def test_a_path_is_a_folder_within_the_repository(path: str, prefix: str) -> None:
    assert prefix_of(path) == prefix


@pytest.mark.parametrize("path", ["/jobs", "../jobs", "a/../b", "a\nb", ".git", "a/.git/b"])
def test_a_path_that_leads_out_of_the_repository_is_refused(path: str) -> None:
    with pytest.raises(UsageError) as caught:
        prefix_of(path)
    assert (
        str(caught.value) == f"'{path}' is no folder within the repository; write it from the top, for example jobs.d"
    )
