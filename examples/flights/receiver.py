"""A webhook to post to: counts what arrives on 127.0.0.1:9000 and answers 200. For the flights example.

python examples/flights/receiver.py
"""

from __future__ import annotations

import gzip
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class Receiver(BaseHTTPRequestHandler):
    """Takes each batch once: a batch that comes again under its own key is answered, not counted."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[set[str]] = set()
    messages = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        key = self.headers.get("Idempotency-Key", "")
        if key not in Receiver.seen:
            Receiver.seen.add(key)
            Receiver.messages += len(json.loads(body)["messages"])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: ARG002 (the base class's signature)
        print(f"{len(Receiver.seen)} batches, {Receiver.messages:,} messages", end="\r")


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", 9000), Receiver).serve_forever()
