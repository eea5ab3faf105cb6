"""Reading from web servers and through fsspec, and what messages show of URLs."""

from __future__ import annotations

import http.server
import io
import pathlib
import random
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from corpusmith.errors import CorpusmithError, InputError, StorageError, UserError
from corpusmith.io import storage
from corpusmith.io.backends import fsspec as fsspec_files
from corpusmith.io.backends import ranged
from corpusmith.io.pages.shards import open_shard_writer, read_records
from corpusmith.redact import redact_place

DATA = random.Random(0).randbytes(3 << 20)
SIGNATURE = "planted-signature-0000"


@dataclass
class Server:
    """A web server of one file; `answer(handler, n)` says whether it answered the n-th request itself."""

    url: str = ""
    data: bytes = DATA
    etag: str = '"one"'
    has_ranges: bool = True
    says_length: bool = True
    is_chunked: bool = False
    answer: Callable[[http.server.BaseHTTPRequestHandler, int], str | None] | None = None
    requests: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)


def _handler(server: Server) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Keep quiet."""

        def _cut(self) -> None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

        def do_GET(self) -> None:
            number = len(server.requests)
            server.requests.append(self.headers.get("Range", ""))
            server.authorizations.append(self.headers.get("Authorization"))
            fault = server.answer(self, number) if server.answer else None
            if fault == "reset":
                self._cut()
                return
            if fault is not None and fault != "cut":
                self.send_response(int(fault))
                if fault == "302":
                    self.send_header("Location", "/elsewhere")
                self.send_header("Retry-After", "1")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = server.data
            first, _, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
            if server.has_ranges and int(first) >= len(body):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if server.has_ranges:
                body = body[int(first) : int(last) + 1]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{int(first) + len(body) - 1}/{len(server.data)}")
            else:
                self.send_response(200)
            self.send_header("ETag", server.etag)
            if server.is_chunked:
                self.send_header("Transfer-Encoding", "chunked")
            elif server.says_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            sent = body[: len(body) // 2] if fault == "cut" else body
            self.wfile.write(b"%x\r\n%b\r\n" % (len(sent), sent) if server.is_chunked else sent)
            if fault == "cut" or not (server.says_length or server.is_chunked):
                self._cut()
            elif server.is_chunked:
                self.wfile.write(b"0\r\n\r\n")

    return Handler


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    server = Server()
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    serving.daemon_threads = True
    monkeypatch.setattr(serving, "handle_error", lambda request, address: None)
    server.url = f"http://127.0.0.1:{serving.server_address[1]}/a%20b/ü.jsonl?X-Amz-Signature={SIGNATURE}"
    threading.Thread(target=serving.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    serving.shutdown()
    serving.server_close()


def test_a_file_is_read_whole_in_ranges_and_from_any_place(web: Server) -> None:
    assert storage.exists(web.url)
    assert storage.stat(web.url).size == len(DATA)
    assert storage.read_bytes(web.url) == DATA
    assert storage.read_range(web.url, 1000, 50) == DATA[1000:1050]
    with storage.open_read(web.url) as file:
        file.seek(-10, io.SEEK_END)
        assert file.read() == DATA[-10:]
    assert not storage.is_dir(web.url)


@pytest.mark.parametrize("kind", ["ranges", "no ranges", "chunked"])
@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_servers_of_each_kind_give_the_whole_file(web: Server, kind: str, size: int) -> None:
    web.has_ranges, web.is_chunked, web.data = kind == "ranges", kind == "chunked", DATA[:size]
    assert storage.read_bytes(web.url) == DATA[:size]


@pytest.mark.usefixtures("quick_pauses")
@pytest.mark.parametrize("kind", ["ranges", "no ranges", "chunked"])
@pytest.mark.parametrize("fault", ["503", "429", "500", "reset", "cut"])
def test_requests_that_fail_for_a_moment_are_repeated(
    web: Server, kind: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranged, "FIRST_WINDOW_BYTES", 1 << 20)
    web.has_ranges, web.is_chunked = kind == "ranges", kind == "chunked"
    web.answer = lambda handler, number: fault if number in (0, 1, 3, 5) else None
    assert storage.read_bytes(web.url) == DATA


@pytest.mark.usefixtures("quick_pauses")
@pytest.mark.parametrize("fault", ["503", "reset"])
def test_what_fails_for_good_is_an_error_without_the_signature(web: Server, fault: str) -> None:
    web.answer = lambda handler, number: fault
    with pytest.raises(StorageError, match="gave up after 8 attempts") as caught:
        storage.read_bytes(web.url)
    assert SIGNATURE not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [("404", InputError, "no such file"), ("403", StorageError, "may have expired"), ("400", StorageError, "400")],
)
def test_refusals_are_clear_and_hold_no_signature(
    web: Server, status: str, kind: type[CorpusmithError], words: str
) -> None:
    web.answer = lambda handler, number: status
    with pytest.raises(kind, match=words) as caught:
        storage.read_bytes(web.url)
    assert SIGNATURE not in "".join(traceback.format_exception(caught.value))
    assert len(web.requests) == 1


def test_a_file_that_changes_while_it_is_read_is_an_error(web: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranged, "FIRST_WINDOW_BYTES", 1 << 20)
    with storage.open_read(web.url) as file:
        file.read(10)
        web.etag = '"two"'
        with pytest.raises(StorageError, match="changed while it was read"):
            file.read()


def test_an_answer_that_does_not_say_its_length_is_refused(web: Server) -> None:
    web.has_ranges = web.says_length = False
    with pytest.raises(StorageError, match="does not say how long"):
        storage.read_bytes(web.url)


def test_user_and_password_are_sent_to_the_server_and_no_further(web: Server) -> None:
    web.answer = lambda handler, number: "302" if handler.path != "/elsewhere" else None
    url = web.url.replace("http://", "http://me:s%40cret@")
    storage.read_range(url, 0, 5)
    assert web.authorizations[0] == "Basic bWU6c0BjcmV0"
    assert web.authorizations[1] is None
    web.answer = lambda handler, number: "404"
    with pytest.raises(InputError) as caught:
        storage.read_bytes(url)
    assert "s%40cret" not in str(caught.value)


def test_the_web_cannot_be_listed_or_written(web: Server) -> None:
    with pytest.raises(InputError, match="cannot list folders"):
        storage.list_files("https://host/x?signature=1")
    for attempt in (
        lambda: storage.write_bytes(web.url, b""),
        lambda: storage.create_new(web.url, b""),
        lambda: storage.remove(web.url),
        lambda: storage.remove_tree(web.url),
        lambda: storage.check_writable(web.url),
    ):
        with pytest.raises(InputError, match="http can only be read") as caught:
            attempt()
        assert SIGNATURE not in str(caught.value)


@pytest.mark.parametrize("url", ["http://", "http://127.0.0.1:port/x", "http:///x"])
def test_what_is_no_web_address_is_the_users_mistake(url: str) -> None:
    with pytest.raises(InputError, match="not a web address"):
        storage.read_bytes(url)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://b.s3.amazonaws.com/k?X-Amz-Signature=1&b=2: no", "https://b.s3.amazonaws.com/k?…: no"),
        ('to "http://me:pw@host:80/a/b#part"', 'to "http://host:80/a/b"'),
        ("s3://bucket/a?b@c: no such file", "s3://bucket/a?b@c: no such file"),
        ("ftp://me:pw@host/x", "ftp://me:…@host/x"),
        ("a/b?c", "a/b?c"),
    ],
)
def test_what_is_shown_of_urls(text: str, shown: str) -> None:
    assert redact_place(text) == shown


# --- other schemes -----------------------------------------------------------------------------------------


def test_other_schemes_go_through_fsspec(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("fsspec")
    root = "memory://corpus/data"
    for name in ("b.jsonl", "a/z.jsonl.zst", ".hidden/x.jsonl"):
        with open_shard_writer(f"{root}/{name}") as writer:
            writer.write({"text": name})
    storage.write_bytes(f"{root}/a/{storage.TEMPORARY_PREFIX}x", b"left")
    assert [info.url for info in storage.list_files(root)] == [f"{root}/a/z.jsonl.zst", f"{root}/b.jsonl"]
    assert [record.page for record in read_records(f"{root}/a/z.jsonl.zst")] == [{"text": "a/z.jsonl.zst"}]
    assert storage.is_dir(f"{root}/a")
    assert not storage.exists(f"{root}/a")
    assert storage.read_range(f"{root}/b.jsonl", 1, 3) == b'"te'
    with pytest.raises(RuntimeError):
        fail_halfway(f"{root}/b.jsonl")
    assert storage.read_bytes(f"{root}/b.jsonl") == b'{"text":"b.jsonl"}\n'
    storage.remove_leftovers(root)
    assert not storage.exists(f"{root}/a/{storage.TEMPORARY_PREFIX}x")
    storage.remove(f"{root}/b.jsonl")
    storage.remove_tree(root)
    assert not storage.is_dir(root)
    with pytest.raises(InputError, match="no such file"):
        storage.read_bytes(f"{root}/b.jsonl")


def fail_halfway(url: str) -> None:
    with storage.atomic_write(url) as file:
        file.write(b"half")
        raise RuntimeError


def test_a_scheme_without_a_driver_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(InputError, match="write s3://"):
        storage.exists("s3a://bucket/key")
    with pytest.raises(UserError, match=r"(?i)driver is missing: .*gcsfs"):
        fsspec_files.open_backend("gs")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UserError, match="pip install fsspec"):
        fsspec_files.open_backend("gs")
