"""A local Hugging Face Hub: the few answers that huggingface_hub needs, from a folder, counting the bytes."""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REVISION = "c" * 40


class Hub(ThreadingHTTPServer):
    """Serves ``folder`` as the repo ``acme/Nova``. ``sent``: bytes sent of each file."""

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.sent = folder, {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        file = re.fullmatch(rf"/acme/Nova/resolve/(?:{REVISION}|main)/(.+)", path)
        if path.startswith("/api/models/acme/Nova"):
            self._answer(200, json.dumps(self._facts()).encode(), {"Content-Type": "application/json"})
        elif file and (self.server.folder / file[1]).is_file():
            self._send(file[1])
        else:
            self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound" if file else "RepoNotFound"})

    def _facts(self) -> dict:
        files = [path for path in sorted(self.server.folder.rglob("*")) if path.is_file()]
        names = [
            {"rfilename": path.relative_to(self.server.folder).as_posix(), "size": path.stat().st_size}
            for path in files
        ]
        return {"id": "acme/Nova", "modelId": "acme/Nova", "sha": REVISION, "siblings": names, "private": False}

    def _send(self, name: str) -> None:
        path = self.server.folder / name
        first, last = 0, path.stat().st_size - 1
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            first, last = int(asked[1]), min(int(asked[2] or last), last)
        with path.open("rb") as stream:
            stream.seek(first)
            data = stream.read(last - first + 1) if self.command == "GET" else b""
        self.server.sent[name] = self.server.sent.get(name, 0) + len(data)
        heads = {"ETag": f'"{name}"', "X-Repo-Commit": REVISION, "Accept-Ranges": "bytes"}
        if asked:
            heads["Content-Range"] = f"bytes {first}-{last}/{path.stat().st_size}"
        self._answer(206 if asked else 200, data, heads, last - first + 1)

    def _answer(self, code: int, data: bytes, heads: dict, length: int | None = None) -> None:
        self.send_response(code)
        for name, value in {**heads, "Content-Length": str(len(data) if length is None else length)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@contextmanager
def hub(folder: Path, kind: type[Hub] = Hub, **how):
    """A running Hub."""
    server = kind(folder, **how)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
