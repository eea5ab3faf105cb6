"""An S3 server on this machine (moto), and a proxy before it that fails as a test says."""

from __future__ import annotations

import collections
import http.client
import http.server
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

BUCKET = "corpus"
SECRET_ID = "AKIAPLANTEDKEYID0000"
SECRET_KEY = "planted+secret/key0000000000000000000000"
SECRET_TOKEN = "planted-session-token-0000"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def moto_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a moto server."""
    pytest.importorskip("moto.server")
    port = _free_port()
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=output, stderr=output, env={**os.environ, "NO_PROXY": "127.0.0.1"},
        )  # fmt: skip
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@dataclass
class Request:
    """A request as the proxy saw it, and what it was answered with."""

    kind: str
    path: str
    headers: dict[str, str]


# What to do with the n-th request (from 0) of its kind: pass it on (None), or one of the proxy's faults.
Plan = Callable[[Request, int], str | None]


@dataclass
class FaultyProxy:
    """A server that passes requests on to `target`, except as `plan` says.

    Faults: an HTTP status with S3's code (`503 SlowDown`), `reset` (no answer, the request never arrives), `lost` (it
    arrives, the answer does not), `cut` (the answer breaks off in mid-body). `kind` of a request reads `GET object`,
    `PUT part`, `POST complete`, `GET list`, ….
    """

    target: str
    url: str = ""
    plan: Plan | None = None
    requests: list[Request] = field(default_factory=list)
    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    echo: str = ""

    def reset(self) -> None:
        self.plan, self.echo = None, ""
        self.requests.clear()
        self.counts.clear()


def _kind(method: str, path: str) -> str:
    place, _, query = path.partition("?")
    names = urllib.parse.parse_qs(query, keep_blank_values=True)
    if "uploads" in names:
        return f"{method} uploads"
    if "uploadId" in names:
        return {"PUT": "PUT part", "POST": "POST complete", "DELETE": "DELETE upload"}.get(method, method)
    if "delete" in names:
        return "POST delete"
    return f"{method} list" if "list-type" in names or place.count("/") < 2 else f"{method} object"


def _handler(proxy: FaultyProxy) -> type[http.server.BaseHTTPRequestHandler]:
    host = urllib.parse.urlsplit(proxy.target).netloc

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Keep quiet."""

        def _fail(self, fault: str) -> None:
            status, _, code = fault.partition(" ")
            body = f"<Error><Code>{code}</Code><Message>{code} {proxy.echo}</Message></Error>".encode()
            self.send_response(int(status))
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(_kind(self.command, self.path), self.path, dict(self.headers))
            number = proxy.counts[request.kind]
            proxy.counts[request.kind] += 1
            proxy.requests.append(request)
            fault = proxy.plan(request, number) if proxy.plan else None
            if fault == "reset":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if fault not in (None, "lost", "cut"):
                self._fail(str(fault))
                return
            upstream = http.client.HTTPConnection(host)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            if fault == "lost":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "date", "server", "content-length"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)
            if fault == "cut":
                self.close_connection = True
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

    return Handler


@pytest.fixture(scope="session")
def _proxy(moto_endpoint: str) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(target=moto_endpoint)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy))
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield proxy
    server.shutdown()
    server.server_close()


@pytest.fixture
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts take a millisecond at most."""
    really = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: really(min(seconds, 0.001)))


@pytest.fixture
def s3(_proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Iterator[FaultyProxy]:
    """The proxy, with boto3 pointed at it by the environment and an empty bucket named `corpus`."""
    from corpusmith.io.backends import s3_requests

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": _proxy.url, "AWS_ACCESS_KEY_ID": SECRET_ID, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": SECRET_TOKEN, "AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    reset = urllib.request.Request(f"{_proxy.target}/moto-api/reset", method="POST")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(reset).close()
    _proxy.reset()
    s3_requests.forget_connection()
    s3_requests.connect(os.getpid()).client.create_bucket(Bucket=BUCKET)
    _proxy.reset()
    yield _proxy
    s3_requests.forget_connection()
