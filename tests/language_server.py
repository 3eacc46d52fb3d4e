"""A client of the YAML language server, the one that editors use: JSON-RPC over its standard streams.

The server is `yaml-language-server` of npm, as `.ci/run` installs it beside the interpreter.
"""

from __future__ import annotations

import itertools
import json
import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

from tests.programs import program

DEADLINE_S: Final = 120


class LanguageServer:
    """A running server that knows one folder and its settings. Open a text, ask about a place in it."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._folder = folder
        self._last = 0
        self._is_set_up = False
        self._answers: queue.Queue[Mapping[str, Any]] = queue.Queue()
        self._noted: dict[str, list[Mapping[str, Any]]] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [program("yaml-language-server"), "--stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._folder,
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.ask(
            "initialize",
            {
                "processId": None,
                "rootUri": self._folder.as_uri(),
                "workspaceFolders": [{"uri": self._folder.as_uri(), "name": "specs"}],
                "capabilities": {
                    "workspace": {"configuration": True, "workspaceFolders": True},
                    "textDocument": {
                        "completion": {"completionItem": {"snippetSupport": True, "documentationFormat": ["markdown"]}},
                        "publishDiagnostics": {},
                    },
                },
            },
        )
        self._tell("initialized", {})
        while not self._is_set_up:  # what is asked before it has the settings is answered without them
            self._note(self._answers.get(timeout=DEADLINE_S))
        return self

    def __exit__(self, *_: object) -> None:
        self.ask("shutdown", None)
        self._tell("exit", None)
        self._process.wait(DEADLINE_S)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    # --- what a test asks ---------------------------------------------------------------------------------------------

    def open(self, name: str, text: str) -> None:
        uri = (self._folder / name).as_uri()
        self._tell(
            "textDocument/didOpen", {"textDocument": {"uri": uri, "languageId": "yaml", "version": 1, "text": text}}
        )

    def reported(self, name: str) -> list[Mapping[str, Any]]:
        """What the server reports of an open file, once it does."""
        uri = (self._folder / name).as_uri()
        return next(one["diagnostics"] for one in self._told("textDocument/publishDiagnostics") if one["uri"] == uri)

    def problems(self, name: str, text: str) -> list[Mapping[str, Any]]:
        """Opens a text under a file's name: what the server reports of it."""
        self.open(name, text)
        return self.reported(name)

    def completions(self, name: str, text: str) -> dict[str, Mapping[str, Any]]:
        """What is offered where `|` stands in the text, by label."""
        answer = self.ask("textDocument/completion", self._place(name, text))
        items = answer["items"] if isinstance(answer, dict) else answer
        return {one["label"]: one for one in items}

    def hover(self, name: str, text: str) -> str:
        """What is shown of the word before which `|` stands in the text."""
        answer = self.ask("textDocument/hover", self._place(name, text))
        return "" if answer is None else str(answer["contents"]["value"])

    def _place(self, name: str, marked: str) -> Mapping[str, Any]:
        before, mark, after = marked.partition("|")
        assert mark
        self.open(name, before + after)
        lines = before.split("\n")
        return {
            "textDocument": {"uri": (self._folder / name).as_uri()},
            "position": {"line": len(lines) - 1, "character": len(lines[-1])},
        }

    # --- the protocol -------------------------------------------------------------------------------------------------

    def ask(self, method: str, params: Any) -> Any:
        self._last += 1
        self._send({"id": self._last, "method": method, "params": params})
        while True:
            answer = self._answers.get(timeout=DEADLINE_S)
            if answer.get("id") == self._last and "method" not in answer:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _told(self, method: str) -> Iterator[Mapping[str, Any]]:
        """The notifications of one method, those that have come and then those that come."""
        for number in itertools.count():
            while len(self._noted.setdefault(method, [])) <= number:
                self._note(self._answers.get(timeout=DEADLINE_S))
            yield self._noted[method][number]

    def _note(self, message: Mapping[str, Any]) -> None:
        method = message.get("method", "")
        if "id" not in message:
            self._noted.setdefault(method, []).append(message["params"])
        elif method == "workspace/configuration":
            asked = [self._settings.get(one["section"]) for one in message["params"]["items"]]
            self._send({"id": message["id"], "result": asked})
            self._is_set_up = True
        elif method:
            self._send({"id": message["id"], "result": None})

    def _tell(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: Mapping[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._process.stdin.flush()

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while header := stream.readline():
            size = int(header.partition(b":")[2])
            while stream.readline().strip():
                pass
            self._answers.put(json.loads(stream.read(size)))
