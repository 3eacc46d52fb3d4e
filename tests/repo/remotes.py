"""Real remotes on loopback: a repository behind git's own HTTP backend, `git daemon` and sshd."""

from __future__ import annotations

import base64
import contextlib
import getpass
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.programs import program
from tests.repo.signing import ran
from tests.repo.worktree import WorkTree
from tests.servers import TLS_CERTIFICATE, TLS_KEY

BACKEND = Path(ran("git", "--exec-path").strip()) / "git-http-backend"


class Upstream(WorkTree):
    """A work tree and the bare repository that it is pushed to."""

    def __init__(self, folder: Path, root: str = "jobs.d") -> None:
        super().__init__(folder / "work", root)
        self.bare = folder / "srv" / "jobs.git"
        ran("git", "init", "-q", "--bare", "-b", "main", str(self.bare))
        for name in ("uploadpack.allowFilter", "http.uploadpack", "daemon.uploadpack"):
            ran("git", "-C", str(self.bare), "config", name, "true")
        self.git("remote", "add", "origin", str(self.bare))

    @property
    def url(self) -> str:
        return f"file://{self.bare}"

    def push(self, *options: str, branch: str = "main") -> None:
        self.git("push", "-q", *options, "origin", f"HEAD:refs/heads/{branch}")

    def publish(self, files: dict[str, str], message: str = "change", *, author: str = "Ann") -> str:
        """Writes, commits and pushes; the commit."""
        self.write(files)
        made = self.commit(message, author=author)
        self.push()
        return made


# --- HTTP -----------------------------------------------------------------------------------------------------------


class HttpRemote:
    """git-http-backend behind a server that asks for who comes. `authorization` is the header that it wants, none where
    it is empty; `status` is what it answers instead, `redirect` where it sends everybody."""

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self.folder = folder
        self.authorization = ""
        self.status = 0
        self.redirect = ""
        self.watch: Callable[[], None] = lambda: None  # called while a request waits for its answer
        self.headers: list[dict[str, str]] = []
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.remote = self
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(TLS_CERTIFICATE, TLS_KEY)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.url = (
            f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{self._http.server_address[1]}"
        )
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def ask_for(self, user: str, password: str) -> None:
        self.authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def __enter__(self) -> HttpRemote:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    remote: HttpRemote

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http

    def _serve(self) -> None:
        remote = self.server.remote
        remote.headers.append({name.lower(): value for name, value in self.headers.items()})
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length) if length else self._pieces()
        remote.watch()
        if remote.redirect:
            self._answer(302, {"Location": remote.redirect + self.path})
        elif remote.status:
            self._answer(remote.status, {})
        elif remote.authorization and self.headers.get("Authorization") != remote.authorization:
            self._answer(401, {"WWW-Authenticate": 'Basic realm="jobs"'})
        else:
            self._git(body)

    def _pieces(self) -> bytes:
        body = b""
        while self.headers.get("Transfer-Encoding") == "chunked" and (size := int(self.rfile.readline(), 16)):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _git(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        done = subprocess.run(
            [BACKEND], input=body, capture_output=True, check=False,
            env={
                "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.server.remote.folder), "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""), "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "GIT_CONFIG_GLOBAL": "/dev/null",
                "CONTENT_LENGTH": str(len(body)), "REMOTE_ADDR": "127.0.0.1",
            },
        )  # fmt: skip
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        self._answer(int(headers.pop("Status", "200").split()[0]), headers, rest)

    do_GET = do_POST = _serve  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


# --- git daemon and sshd --------------------------------------------------------------------------------------------


@contextmanager
def running(port: int, *command: str, log: Path) -> Iterator[None]:
    """A server in a process of its own, until it takes connections."""
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
    try:
        end_s = time.monotonic() + 60
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end_s, log.read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
        yield
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def git_daemon(folder: Path) -> Iterator[str]:
    """The URL of what lies in `folder`."""
    port = free_port()
    options = ("--reuseaddr", "--export-all", "--listen=127.0.0.1", f"--port={port}", f"--base-path={folder}")
    with running(port, "git", "daemon", *options, str(folder), log=folder / "daemon.log"):
        yield f"git://127.0.0.1:{port}"


class Ssh:
    """An sshd with a host key of its own, that lets in one key. `client_key` and `known_hosts` are what a client needs."""

    def __init__(self, folder: Path, *, accepts: str = "GIT_PROTOCOL") -> None:
        sshd, keygen = program("sshd"), program("ssh-keygen")
        folder.mkdir(mode=0o700)
        for name in ("host", "client"):
            ran(keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        self.port = free_port()
        self.user = getpass.getuser()
        self.client_key = (folder / "client").read_text()
        self.known_hosts = f"[127.0.0.1]:{self.port} {' '.join((folder / 'host.pub').read_text().split()[:2])}\n"
        (folder / "authorized").write_text((folder / "client.pub").read_text())
        (folder / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\nPidFile none\nStrictModes no\n"
            f"AuthorizedKeysFile {folder / 'authorized'}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"PermitRootLogin prohibit-password\nUsePAM no\n{f'AcceptEnv {accepts}' if accepts else ''}\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True) if os.geteuid() == 0 else None
        self._command = (sshd, "-D", "-e", "-f", str(folder / "config"))
        self._log = folder / "log"

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The URL of the disk's top."""
        with running(self.port, *self._command, log=self._log):
            yield f"ssh://{self.user}@127.0.0.1:{self.port}"
