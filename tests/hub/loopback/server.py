"""The server: repositories in memory, git hashes and commits, a CDN on another port.

Only what huggingface_hub 2.x and datasets 5.x ask for is answered; anything else is 501 and in
`Hub.unknown`, so that a test sees it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".bin", ".parquet", ".model")
"""Files that a real hub keeps as LFS objects and serves from its CDN."""

_CHUNK = 1 << 14


@dataclass
class Fault:
    """Something wrong with the answers to requests whose `METHOD path` matches `on`.

    Attributes:
        on: a regular expression, searched for; `CDN` stands before the method on that port.
        times: how often; None for ever.
        status: answered in the place of what was asked for.
        kind: `drop` the connection after `after` bytes of the body, `hang` without an answer,
            `slow` down to `rate` bytes a second, `corrupt` one byte of the body.
    """

    on: str
    times: int | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    kind: Literal["drop", "hang", "slow", "corrupt"] | None = None
    after: int = 0
    rate: float = 1000.0
    seen: int = 0


@dataclass
class Repository:
    """One repository; `files` are those of its newest commit.

    Attributes:
        gated: a licence has to be accepted: only tokens in `accepted` may read files.
        private: it is not there for others.
        disabled: taken down by the hub.
    """

    kind: Literal["models", "datasets"]
    name: str
    files: dict[str, bytes] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    disabled: bool = False
    accepted: set[str] = field(default_factory=set)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self) -> str:
        """The id of what `files` hold now."""
        listing = json.dumps({name: _git_id(body) for name, body in sorted(self.files.items())})
        sha = hashlib.sha1(f"{self.name} {listing}".encode()).hexdigest()
        self.commits.setdefault(sha, dict(self.files))
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit id and the files of a revision."""
        newest = self.commit()
        if revision == "main":
            return newest, self.commits[newest]
        found = [sha for sha in self.commits if len(revision) >= 7 and sha.startswith(revision)]
        return (found[0], self.commits[found[0]]) if found else None


class Hub:
    """The server, while it is entered.

    Attributes:
        tokens: user names by token; with another one every request is 401.
        faults: in the order in which they are tried.
        requests: `METHOD path` of every request so far, `CDN` before those on that port, and after
            it which bytes of a file are asked for.
        authorized: of these, with which token.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.renamed: dict[tuple[str, str], str] = {}
        self.tokens: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.authorized: list[tuple[str, str | None]] = []
        self.unknown: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._servers: list[ThreadingHTTPServer] = []

    def __enter__(self) -> Self:
        for handler in (_Api, _Cdn):
            server = _Server(("127.0.0.1", 0), type("Handler", (handler,), {"hub": self}))
            self._servers.append(server)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.closed.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @cached_property
    def url(self) -> str:
        """What HF_ENDPOINT has to be."""
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @cached_property
    def cdn(self) -> str:
        """Where large files are served."""
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def environment(self, home: object) -> dict[str, str]:
        """Variables by which a process talks to this hub, with a cache of its own."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_DATASETS_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
        }

    def add(
        self, kind: Literal["models", "datasets"], name: str, files: dict[str, bytes]
    ) -> Repository:
        """Put a repository there, with a first commit."""
        made = Repository(kind, name, files)
        made.commit()
        self.repositories[kind, name] = made
        return made

    @contextmanager
    def failing(self, *faults: Fault) -> Iterator[None]:
        """With these faults for a while."""
        self.faults[:0] = faults
        try:
            yield
        finally:
            for fault in faults:
                self.faults.remove(fault)

    def fetched(self, pattern: str) -> list[str]:
        """The requests that match a regular expression."""
        return [each for each in self.requests if re.search(pattern, each)]

    def fault(self, line: str) -> Fault | None:
        """The fault that this request meets."""
        with self._lock:
            self.requests.append(line)
            for each in self.faults:
                if re.search(each.on, line) and (each.times is None or each.seen < each.times):
                    each.seen += 1
                    return each
        return None


def _git_id(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no event."""


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]
    protocol_version = "HTTP/1.1"
    port_name = ""

    def log_message(self, *args: object) -> None:
        """Nothing is printed."""

    def _handle(self) -> None:
        split = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        self.query = parse_qs(split.query)
        part = " ".join(filter(None, [unquote(split.path), self.headers.get("Range")]))
        line = f"{self.port_name}{self.command} {part}"
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.token = token
        self.hub.authorized.append((line, token))
        self.broken = self.hub.fault(line)
        if self.broken is not None and self.broken.kind == "hang":
            self.hub.closed.wait()
            self.close_connection = True
            return
        if self.broken is not None and self.broken.status is not None:
            self.answer(self.broken.status, b"", self.broken.headers)
            return
        self.respond(unquote(split.path))

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def respond(self, path: str) -> None:
        raise NotImplementedError

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Send an answer as the fault of this request will have it."""
        fault = self.broken
        if fault is not None and fault.kind == "corrupt" and body:
            body = bytes([body[0] ^ 0x01]) + body[1:-1] + bytes([body[-1] ^ 0x01])
        self.send_response(status)
        told = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
        for name, value in {**told, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is not None and fault.kind == "drop":
            self.wfile.write(body[: fault.after])
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
            return
        if fault is None or fault.kind != "slow":
            self.wfile.write(body)
            return
        size = max(1, int(fault.rate / 20))
        for start in range(0, len(body), size):
            self.wfile.write(body[start : start + size])
            self.wfile.flush()
            time.sleep(size / fault.rate)

    def json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.answer(status, json.dumps(value).encode(), headers)

    def ranged(self, body: bytes, headers: dict[str, str]) -> None:
        """A file, or the part of it that is asked for."""
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            self.answer(200, body, headers)
            return
        first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
        if first >= len(body):
            self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            return
        headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        self.answer(206, body[first : last + 1], headers)


class _Cdn(_Handler):
    """Large files by sha256; uploads too."""

    port_name = "CDN "

    def respond(self, path: str) -> None:
        oid = path.rpartition("/")[2]
        if self.command == "PUT":
            assert _sha256(self.body) == oid
            self.hub.objects[oid] = self.body
            self.answer(200, b"")
        elif oid in self.hub.objects:
            self.ranged(self.hub.objects[oid], {"ETag": f'"{oid}"'})
        else:
            self.answer(404, b"")


class _Api(_Handler):
    """Everything else."""

    routes: ClassVar[list[tuple[str, str, str]]] = [
        ("GET", r"/api/whoami-v2", "whoami"),
        ("GET", r"/api/models", "search"),
        ("POST", r"/api/validate-yaml", "valid_yaml"),
        ("POST", r"/api/repos/create", "create"),
        ("GET", r"/api/(models|datasets)/(.+?)/auth-check", "auth_check"),
        ("GET", r"/api/(models|datasets)/(.+?)/refs", "refs"),
        ("GET", r"/api/(models|datasets)/(.+?)/tree/([^/]+)(?:/(.*))?", "tree"),
        ("POST", r"/api/(models|datasets)/(.+?)/paths-info/([^/]+)", "paths_info"),
        ("POST", r"/api/(models|datasets)/(.+?)/preupload/([^/]+)", "preupload"),
        ("POST", r"/api/(models|datasets)/(.+?)/commit/([^/]+)", "new_commit"),
        ("GET", r"/api/(models|datasets)/(.+?)/revision/([^/]+)", "info"),
        ("GET", r"/api/(models|datasets)/([^/]+(?:/[^/]+)?)", "info"),
        ("POST", r"/(?:(datasets)/)?(.+?)\.git/info/lfs/objects/batch", "batch"),
        ("GET|HEAD", r"/(?:(datasets)/)?(.+?)/resolve/([^/]+)/(.+)", "resolve"),
    ]

    def respond(self, path: str) -> None:
        if self.token is not None and self.token not in self.hub.tokens:
            message = "Invalid credentials in Authorization header"
            self.json({"error": message}, 401, {"X-Error-Message": message})
            return
        for methods, pattern, name in self.routes:
            found = re.fullmatch(pattern, path)
            if found and self.command in methods.split("|"):
                getattr(self, name)(*found.groups())
                return
        self.hub.unknown.append(f"{self.command} {path}")
        self.answer(501, b"{}")

    def error(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self.json({"error": message}, status, headers)

    def repository(self, kind: str | None, name: str, *, files: bool) -> Repository | None:
        """The repository, if this user may see it; else the answer is sent.

        Args:
            files: whether its files are asked for, as opposed to what is told of it.
        """
        key = (kind or "models", name)
        if key in self.hub.renamed:
            new = self.path.replace(name, self.hub.renamed[key], 1)
            self.answer(307, b"", {"Location": new})
            return None
        found = self.hub.repositories.get(key)
        user = self.hub.tokens.get(self.token or "")
        hidden = found is not None and found.private and user != name.partition("/")[0]
        if found is None or hidden:
            self.error(404 if user else 401, "RepoNotFound", "Repository not found")
            return None
        if found.disabled:
            self.error(403, "", "Access to this resource is disabled.")
            return None
        if files and found.gated and self.token not in found.accepted:
            status = 403 if user else 401
            self.error(status, "GatedRepo", f"Access to {found.kind} {name} is restricted.")
            return None
        return found

    def revision(self, found: Repository, revision: str) -> tuple[str, dict[str, bytes]] | None:
        at = found.at(revision)
        if at is None:
            self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return at

    def whoami(self) -> None:
        name = self.hub.tokens.get(self.token or "")
        if name is None:
            self.error(401, "", "Invalid username or password.")
            return
        self.json({"type": "user", "name": name, "orgs": [], "auth": {"type": "access_token"}})

    def search(self) -> None:
        self.json([])

    def valid_yaml(self) -> None:
        self.json({"errors": [], "warnings": []})

    def auth_check(self, kind: str, name: str) -> None:
        if self.repository(kind, name, files=True) is not None:
            self.json({"ok": True})

    def refs(self, kind: str, name: str) -> None:
        if found := self.repository(kind, name, files=False):
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": found.commit()}
            self.json({"branches": [main], "converts": [], "tags": []})

    def info(self, kind: str, name: str, revision: str = "main") -> None:
        found = self.repository(kind, name, files=False)
        at = found and self.revision(found, revision)
        if found is None or at is None:
            return
        sha, files = at
        siblings = []
        for path, body in sorted(files.items()):
            entry: dict[str, Any] = {"rfilename": path}
            if "blobs" in self.query:
                entry |= {"blobId": _git_id(body), "size": len(body)}
                if path.endswith(LARGE):
                    entry["lfs"] = {"sha256": _sha256(body), "size": len(body), "pointerSize": 134}
            siblings.append(entry)
        self.json({
            "_id": sha[:24], "id": name, "sha": sha, "private": found.private,
            "gated": "auto" if found.gated else False, "disabled": False, "tags": [],
            "lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z",
            "downloads": 0, "likes": 0, "siblings": siblings,
        })  # fmt: skip

    def entry(self, path: str, body: bytes) -> dict[str, Any]:
        told = {"type": "file", "oid": _git_id(body), "size": len(body), "path": path}
        if path.endswith(LARGE):
            told["lfs"] = {"oid": _sha256(body), "size": len(body), "pointerSize": 134}
        return told

    def tree(self, kind: str, name: str, revision: str, below: str | None) -> None:
        found = self.repository(kind, name, files=True)
        at = found and self.revision(found, revision)
        if not at:
            return
        start = f"{below}/" if below else ""
        told: dict[str, dict[str, Any]] = {}
        for path, body in sorted(at[1].items()):
            if not path.startswith(start):
                continue
            folder, slash, _ = path.removeprefix(start).partition("/")
            if slash:
                whole = start + folder
                told[whole] = {"type": "directory", "oid": _git_id(whole.encode()), "size": 0,
                               "path": whole}  # fmt: skip
            if not slash or self.query.get("recursive", ["false"])[0].lower() in {"true", "1"}:
                told[path] = self.entry(path, body)
        if below and not told:
            self.error(404, "EntryNotFound", f"{below} does not exist")
            return
        self.json(list(told.values()))

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        found = self.repository(kind, name, files=True)
        at = found and self.revision(found, revision)
        if not at:
            return
        body = self.body.decode()
        asked = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
        told = []
        for path in [asked] if isinstance(asked, str) else asked:
            if path in at[1]:
                told.append(self.entry(path, at[1][path]))
            elif any(each.startswith(f"{path}/") for each in at[1]):
                told.append({"type": "directory", "oid": _git_id(b""), "size": 0, "path": path})
        self.json(told)

    def resolve(self, kind: str | None, name: str, revision: str, path: str) -> None:
        found = self.repository(kind, name, files=True)
        at = found and self.revision(found, revision)
        if not at:
            return
        sha, files = at
        if path not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha}
            self.json({"error": "Entry not found"}, 404, headers)
            return
        body = files[path]
        if not path.endswith(LARGE):
            self.ranged(body, {"X-Repo-Commit": sha, "ETag": f'"{_git_id(body)}"'})
            return
        oid = _sha256(body)
        self.hub.objects[oid] = body
        self.answer(302, b"", {
            "X-Repo-Commit": sha, "X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(body)),
            "Location": f"{self.hub.cdn}/{name}/{path}/{oid}",
        })  # fmt: skip

    def create(self) -> None:
        asked = json.loads(self.body)
        user = self.hub.tokens.get(self.token or "")
        if user is None or asked.get("organization") not in {None, user}:
            self.error(403, "", "You don't have the rights to create a model there")
            return
        kind: Any = f"{asked.get('type') or 'model'}s"
        name = f"{asked.get('organization') or user}/{asked['name']}"
        url = f"{self.hub.url}/{name}"
        if (kind, name) in self.hub.repositories:
            message = "You already created this model repo"
            self.json({"error": message, "url": url}, 409, {"X-Error-Message": message})
            return
        made = self.hub.add(kind, name, {})
        made.private = asked.get("private") is True or asked.get("visibility") == "private"
        self.json({"url": url, "name": name, "id": name})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        if found := self.repository(kind, name, files=False):
            told = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    **({"oid": self.entry(each["path"], found.files[each["path"]])["oid"]}
                       if each["path"] in found.files else {}),
                }
                for each in json.loads(self.body)["files"]
            ]  # fmt: skip
            self.json({"files": told})

    def batch(self, kind: str | None, name: str) -> None:
        if self.repository(kind, name, files=False) is None:
            return
        told = []
        for each in json.loads(self.body)["objects"]:
            href = f"{self.hub.cdn}/upload/{each['oid']}"
            new = (
                {"actions": {"upload": {"href": href}}}
                if each["oid"] not in self.hub.objects
                else {}
            )
            told.append({"oid": each["oid"], "size": each["size"], **new})
        self.json({"transfer": "basic", "objects": told})

    def new_commit(self, kind: str, name: str, revision: str) -> None:
        found = self.repository(kind, name, files=False)
        if found is None:
            return
        for line in self.body.decode().splitlines():
            each = json.loads(line)
            value = each["value"]
            if each["key"] == "file":
                found.files[value["path"]] = base64.b64decode(value["content"])
            elif each["key"] == "lfsFile":
                found.files[value["path"]] = self.hub.objects[value["oid"]]
        sha = found.commit()
        self.json(
            {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{name}/commit/{sha}"}
        )
