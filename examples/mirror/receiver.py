"""A destination to mirror an audience to: keeps members by their hashed email on 127.0.0.1:9001, and says what it is told.

python examples/mirror/receiver.py
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar


class Receiver(BaseHTTPRequestHandler):
    """Takes each batch once: a batch that comes again under its own key is answered, not carried out."""

    protocol_version = "HTTP/1.1"
    members: ClassVar[dict[str, dict[str, Any]]] = {}
    keys: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        batch = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        key = self.headers.get("Idempotency-Key", "")
        if key not in Receiver.keys:
            Receiver.keys.add(key)
            for member in batch["members"]:
                self.carry_out(batch["action"], member)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def carry_out(self, action: str, member: dict[str, Any]) -> None:
        known_as = member.pop("previous", member)["email"]
        Receiver.members.pop(known_as, None)
        if action != "remove":
            Receiver.members[member["email"]] = member
        print(f"{action} {member['first_name']}, spent {member['spent']}: {len(Receiver.members)} members", flush=True)

    def log_message(self, format: str, *args: object) -> None:
        """Only what it is told is said."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 9001), Receiver)
    print("listening on 127.0.0.1:9001", flush=True)
    server.serve_forever()
