"""One request of the http provider: where it may go, how long it may take, how much it may answer."""

from __future__ import annotations

import gzip
import socket
import threading

import pytest

from reconciler.errors import Fatal, Retriable
from reconciler.providers.http import client as client_module
from reconciler.providers.http.address import resolve
from reconciler.providers.http.client import Answer, Client, checked_headers, checked_url
from tests.ports import free_port
from tests.servers import TLS_CERTIFICATE, Play, Request, serving


def get(url: str, *, timeout_s: float = 10, allow_private: bool = True, method: str = "GET", **more: object) -> Answer:
    with Client(allow_private=allow_private, timeout_s=timeout_s) as client:
        return client.request(method, url, **{"headers": {}, "private": {}, **more})  # type: ignore[arg-type]


def test_an_answer_comes_with_its_status_headers_and_body() -> None:
    with serving([Play(201, b"hello", {"X-One": "1"})]) as server:
        answer = get(f"{server.url}/a?b=c")
    assert (answer.status, answer.body, answer.headers["x-one"]) == (201, b"hello", "1")
    assert (server.requests[0].path, server.requests[0].query) == ("/a", {"b": "c"})


def test_a_loopback_address_is_refused_unless_the_spec_allows_it() -> None:
    with serving() as server, pytest.raises(Fatal) as caught:
        get(server.url, allow_private=False)
    assert str(caught.value) == (
        "127.0.0.1: the address 127.0.0.1 is loopback and is not connected to. "
        "Set `allowPrivateAddresses: true` in the job's config where that is meant."
    )
    assert server.connections == 0


def test_a_metadata_address_is_refused_even_where_private_ones_are_allowed() -> None:
    with pytest.raises(Fatal) as caught:
        get("http://169.254.169.254/latest/meta-data")
    assert str(caught.value) == "169.254.169.254: the address 169.254.169.254 is link-local and is not connected to."


def test_a_name_that_resolves_to_loopback_is_refused() -> None:
    with serving() as server, pytest.raises(Fatal, match=r"localhost: the address .* is loopback"):
        get(f"http://localhost:{server.port}/", allow_private=False)
    assert server.connections == 0


def test_the_address_that_was_judged_is_the_one_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the name server answers once with one address, and from then on with another."""
    real, asked = socket.getaddrinfo, []

    def rebinding(host: str, *rest: object, **more: object) -> object:
        if host == "rebind.example":
            asked.append(host)
            host = "127.0.0.1" if len(asked) == 1 else "127.0.0.99"
        return real(host, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with serving() as server:
        answer = get(f"http://rebind.example:{server.port}/")
    assert answer.status == 200
    assert asked == ["rebind.example"]
    assert server.requests[0].headers["host"] == f"rebind.example:{server.port}"


def test_of_several_addresses_only_those_that_are_allowed_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    both = ["169.254.169.254", "127.0.0.1"]
    monkeypatch.setattr(
        "reconciler.providers.http.wire.resolve", lambda host, port, timeout_s: both if host == "two.example" else []
    )
    with serving() as server:
        assert get(f"http://two.example:{server.port}/").status == 200


def test_a_redirect_is_followed_and_judged_at_every_hop() -> None:
    def answer(request: Request) -> Play:
        if request.path == "/a":
            return Play(302, headers={"Location": "/b"})
        return Play(302, headers={"Location": "http://169.254.169.254/latest"})

    with serving(answer) as server, pytest.raises(Fatal, match=r"169\.254\.169\.254 is link-local"):
        get(f"{server.url}/a")
    assert [one.path for one in server.requests] == ["/a", "/b"]


def test_credentials_do_not_go_to_another_origin() -> None:
    with serving() as other, serving([Play(307, headers={"Location": f"{other.url}/in"})]) as server:
        get(server.url, method="POST", content=b"{}", headers={"X-Kept": "1"}, private={"Authorization": "Bearer t"})
    assert server.requests[0].headers["authorization"] == "Bearer t"
    assert "authorization" not in other.requests[0].headers
    assert (other.requests[0].headers["x-kept"], other.requests[0].body) == ("1", b"{}")


def test_credentials_stay_within_their_origin() -> None:
    with serving([Play(301, headers={"Location": "/b"})]) as server:
        get(f"{server.url}/a", private={"Authorization": "Bearer t"})
    assert [one.headers["authorization"] for one in server.requests] == ["Bearer t", "Bearer t"]


def test_a_redirect_without_an_end_is_given_up() -> None:
    with (
        serving(lambda _: Play(302, headers={"Location": "/again"})) as server,
        pytest.raises(Fatal, match="more than 5 redirects"),
    ):
        get(server.url)
    assert len(server.requests) == 6


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_post_is_not_turned_into_a_get(status: int) -> None:
    with (
        serving([Play(status, headers={"Location": "/b"})]) as server,
        pytest.raises(Fatal, match=f"redirected with {status}, which a POST does not follow; use the new URL"),
    ):
        get(server.url, method="POST", content=b"x")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://example.com/", "only http and https addresses are requested, found 'ftp'"),
        ("file:///etc/passwd", "only http and https addresses are requested, found 'file'"),
        ("/relative", "only http and https addresses are requested, found 'no scheme'"),
        ("http://user:pw@example.com/x", "http://example.com/x: a URL holds no user name or password"),
        ("http://exa\nmple.com/", "not a URL that can be requested"),
        ("http://example.com:99999/", "http://example.com:99999/: there is no port 99999"),
    ],
)
def test_a_url_that_is_not_plainly_http_is_refused(url: str, message: str) -> None:
    with pytest.raises(Fatal) as caught:
        checked_url(url)
    assert str(caught.value).startswith(message)
    assert "pw" not in str(caught.value)


def test_a_redirect_to_another_scheme_is_refused() -> None:
    with (
        serving([Play(302, headers={"Location": "file:///etc/passwd"})]) as server,
        pytest.raises(Fatal, match="only http and https"),
    ):
        get(server.url)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b", "é", "a\x7f"])
def test_no_header_can_be_smuggled_in_by_a_value(value: str) -> None:
    with pytest.raises(Fatal) as caught:
        checked_headers({"Authorization": value})
    assert str(caught.value) == "the value of the header Authorization holds characters that a header cannot carry"


def test_a_header_needs_a_name_that_is_one() -> None:
    with pytest.raises(Fatal, match="'X: 1' is not a header's name"):
        checked_headers({"X: 1": "a"})


def test_an_answer_that_never_comes_ends_with_the_deadline() -> None:
    with serving([Play(hold=True)]) as server, pytest.raises(Retriable, match="no answer in time"):
        get(server.url, timeout_s=0.2)


def test_an_answer_that_trickles_ends_with_the_deadline() -> None:
    with serving([Play(trickle=True)]) as server, pytest.raises(Retriable, match="no answer in time"):
        get(server.url, timeout_s=0.3)


def test_a_connection_closed_without_an_answer_can_be_tried_again() -> None:
    with serving([Play(drop=True)]) as server, pytest.raises(Retriable, match="Server disconnected"):
        get(server.url)


def test_a_port_where_nobody_listens_can_be_tried_again() -> None:
    port = free_port()
    with pytest.raises(Retriable, match=rf"GET http://127\.0\.0\.1:{port}/x: .*refused"):
        get(f"http://127.0.0.1:{port}/x?token=1")


def test_a_name_nobody_knows_can_be_tried_again() -> None:
    with pytest.raises(Retriable, match=r"the host 'nowhere.invalid' is not known"):
        get("http://nowhere.invalid/")


def test_an_answer_is_decompressed() -> None:
    packed = gzip.compress(b"one ") + gzip.compress(b"two")
    with serving([Play(200, packed, {"Content-Encoding": "gzip"})]) as server:
        assert get(server.url).body == b"one two"


def test_a_large_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_ANSWER_BYTES", 1024 * 1024)
    with serving([Play(200, b"x" * 1024 * 1024), Play(200, b"x" * (1024 * 1024 + 1))]) as server:
        assert len(get(server.url).body) == 1024 * 1024
        with pytest.raises(Fatal, match="the answer is larger than 1 MiB"):
            get(server.url)


def test_a_small_answer_that_unpacks_to_a_large_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_ANSWER_BYTES", 1024 * 1024)
    bomb = gzip.compress(b"\0" * 50 * 1024 * 1024)
    with (
        serving([Play(200, bomb, {"Content-Encoding": "gzip"})]) as server,
        pytest.raises(Fatal, match="the answer is larger than 1 MiB"),
    ):
        get(server.url)


def test_of_a_reply_only_the_beginning_is_kept() -> None:
    with serving([Play(400, b"y" * 300_000)]) as server:
        assert len(get(server.url, whole=False).body) == 64 * 1024


def test_an_encoding_that_was_not_asked_for_is_refused() -> None:
    with (
        serving([Play(200, b"...", {"Content-Encoding": "br"})]) as server,
        pytest.raises(Fatal, match="the answer is encoded as 'br', which was not asked for"),
    ):
        get(server.url)


def test_an_answer_that_is_not_the_gzip_it_says_can_be_tried_again() -> None:
    with (
        serving([Play(200, b"plain", {"Content-Encoding": "gzip"})]) as server,
        pytest.raises(Retriable, match="the answer is not the gzip that it says it is"),
    ):
        get(server.url)


def test_a_connection_is_used_again() -> None:
    with serving() as server, Client(allow_private=True, timeout_s=60) as client:
        for _ in range(5):
            client.request("POST", server.url, headers={}, private={}, content=b"{}")
    assert (len(server.requests), server.connections) == (5, 1)


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with serving() as server:
        assert get(server.url).status == 200


def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    with (
        serving(tls=True) as server,
        pytest.raises(Fatal, match="the certificate of the server is not accepted: self-signed certificate"),
    ):
        get(server.url)
    assert server.requests == []


def test_a_certificate_for_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS_CERTIFICATE))
    monkeypatch.setattr("reconciler.providers.http.wire.resolve", lambda host, port, timeout_s: ["127.0.0.1"])
    with (
        serving(tls=True) as server,
        pytest.raises(Fatal, match="the certificate of the server is not accepted: Hostname mismatch"),
    ):
        get(f"https://other.example:{server.port}/")


def test_tls_names_the_host_and_not_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS_CERTIFICATE))
    with serving([Play(200, b"safe")], tls=True) as server:
        assert get(f"https://localhost:{server.port}/").body == b"safe"
    assert server.requests[0].headers["host"] == f"localhost:{server.port}"


def test_a_redirect_from_https_to_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS_CERTIFICATE))
    with (
        serving() as plain,
        serving([Play(302, headers={"Location": plain.url})], tls=True) as server,
        pytest.raises(Fatal, match="redirected from https to http, which is not followed"),
    ):
        get(f"https://localhost:{server.port}/")
    assert plain.requests == []


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: gate.wait(60) and [])
    with pytest.raises(TimeoutError, match=r"no answer from the name server for 'slow.example'"):
        resolve("slow.example", 80, 0.05)
    gate.set()
