"""Storage on S3: the same behaviour as on disk, and the same bytes or a clear error when requests fail."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pathlib
import pickle
import random
import subprocess
import sys
import traceback
from typing import Any

import botocore.exceptions
import pyarrow as pa
import pytest

from corpusmith.errors import CorpusmithError, InputError, StorageError
from corpusmith.io import spill, storage
from corpusmith.io.backends import ranged, s3, s3_requests
from corpusmith.io.pages.shards import open_shard_writer, read_records

ROOT = "s3://corpus/data"
SECRETS = ("AKIAPLANTEDKEYID0000", "planted+secret/key0000000000000000000000", "planted-session-token-0000")


def content_of(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def client() -> Any:
    return s3_requests.connect(os.getpid()).client


def open_uploads() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client().list_multipart_uploads(Bucket="corpus").get("Uploads", [])
    return found


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of the smallest size that S3 takes."""
    monkeypatch.setattr(s3, "PART_BYTES", 5 << 20)


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_a_file_comes_back_as_it_was_written(s3: Any, size: int) -> None:
    url, data = f"{ROOT}/deep/a b+ü%.bin", content_of(size)
    assert not storage.exists(url)
    storage.write_bytes(url, data)
    assert storage.exists(url)
    assert storage.stat(url).size == size
    assert storage.read_bytes(url) == data
    storage.remove(url)
    storage.remove(url)
    assert not storage.exists(url)


def test_listing_is_sorted_recursive_and_skips_dot_names_as_on_disk(s3: Any, tmp_path: pathlib.Path) -> None:
    names = ("b.txt", "a/z.txt", "a/.hidden.txt", ".folder/c.txt", "a/y.bin", "a+b/ü %41.txt", "ab.txt")
    found = []
    for root in (str(tmp_path), ROOT):
        for name in names:
            storage.write_bytes(f"{root}/{name}", b"x")
        found.append([storage.relative(info.url, root) for info in storage.list_files(root + "/", (".txt",))])
    client().put_object(Bucket="corpus", Key="data/folder/")
    storage.write_bytes("s3://corpus/data2/other.txt", b"x")
    assert found[0] == found[1] == ["a+b/ü %41.txt", "a/z.txt", "ab.txt", "b.txt"]
    assert [storage.relative(info.url, ROOT) for info in storage.list_files(ROOT, (".txt",))] == found[0]


def test_a_folder_stands_where_keys_lie_below_it(s3: Any) -> None:
    storage.write_bytes(f"{ROOT}/a/b", b"")
    assert storage.is_dir(ROOT)
    assert storage.is_dir(f"{ROOT}/a/")
    assert not storage.is_dir(f"{ROOT}/a/b")
    assert not storage.is_dir("s3://corpus/dat")
    assert not storage.exists(f"{ROOT}/a")


def test_a_listing_of_many_pages_is_complete_and_a_tree_goes_in_batches(s3: Any) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: client().put_object(Bucket="corpus", Key=f"data/{n:05d}"), range(1100)))
    storage.write_bytes("s3://corpus/data2", b"")
    assert [info.url for info in storage.list_files(ROOT)] == [f"{ROOT}/{n:05d}" for n in range(1100)]
    assert s3.counts["GET list"] == 2
    storage.remove_tree(ROOT)
    assert s3.counts["POST delete"] == 2
    assert not storage.is_dir(ROOT)
    assert storage.exists("s3://corpus/data2")


@pytest.mark.parametrize("answer", ["400 MissingContentMD5", "501 NotImplemented", "400 InvalidRequest"])
def test_a_tree_goes_one_by_one_where_the_server_has_no_batches(s3: Any, answer: str) -> None:
    for name in ("a", "b", ".partial-c"):
        storage.write_bytes(f"{ROOT}/{name}", b"")
    s3.plan = lambda request, number: answer if request.kind == "POST delete" else None
    storage.remove_tree(ROOT)
    assert not storage.is_dir(ROOT)


def test_a_whole_bucket_is_not_removed(s3: Any) -> None:
    storage.write_bytes(f"{ROOT}/a", b"")
    with pytest.raises(StorageError, match="will not remove a whole bucket"):
        storage.remove_tree("s3://corpus/")
    assert storage.exists(f"{ROOT}/a")


def test_a_large_object_goes_up_in_parts_and_appears_when_the_block_ends(s3: Any, small_parts: None) -> None:
    data = content_of(12 << 20)
    with storage.atomic_write(f"{ROOT}/large") as file:
        for start in range(0, len(data), 1 << 20):
            file.write(data[start : start + (1 << 20)])
        assert file.tell() == len(data)
        assert s3.counts["PUT part"] == 2
        assert not storage.exists(f"{ROOT}/large")
    assert storage.read_bytes(f"{ROOT}/large") == data
    assert s3.counts["PUT part"] == 3


@pytest.mark.parametrize("size", [10, 11 << 20])
def test_nothing_appears_and_no_upload_is_left_when_the_block_raises(s3: Any, small_parts: None, size: int) -> None:
    storage.write_bytes(f"{ROOT}/a", b"old")

    def fail_halfway() -> None:
        with storage.atomic_write(f"{ROOT}/a") as file:
            file.write(content_of(size))
            file.close()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert storage.read_bytes(f"{ROOT}/a") == b"old"
    assert open_uploads() == []


def test_uploads_of_killed_writers_are_aborted_below_the_folder_only(s3: Any) -> None:
    for key in ("data/a", "data/sub/b", "other/c"):
        client().create_multipart_upload(Bucket="corpus", Key=key)
    storage.remove_leftovers(ROOT)
    assert [upload["Key"] for upload in open_uploads()] == ["other/c"]
    s3.plan = lambda request, number: "501 NotImplemented" if request.kind == "GET uploads" else None
    storage.remove_leftovers("s3://corpus")


def test_of_several_writers_one_creates(s3: Any) -> None:
    assert storage.create_new(f"{ROOT}/new", b"first")
    assert not storage.create_new(f"{ROOT}/new", b"second")
    assert storage.read_bytes(f"{ROOT}/new") == b"first"


@pytest.mark.usefixtures("quick_pauses")
def test_creating_knows_its_own_object_when_the_answer_was_lost(s3: Any) -> None:
    s3.plan = lambda request, number: "lost" if request.kind == "PUT object" and number == 0 else None
    assert storage.create_new(f"{ROOT}/new", b"first")
    s3.plan = lambda request, number: "501 NotImplemented" if request.kind == "PUT object" else None
    with pytest.raises(StorageError, match="cannot create an object only where none is"):
        storage.create_new(f"{ROOT}/other", b"")


def test_ranges_and_seeks_give_the_bytes_there(s3: Any) -> None:
    data = content_of(3 << 20)
    storage.write_bytes(f"{ROOT}/a", data)
    assert storage.read_range(f"{ROOT}/a", 1000, 4000) == data[1000:5000]
    assert storage.read_range(f"{ROOT}/a", len(data) - 3, 9) == data[-3:]
    assert storage.read_range(f"{ROOT}/a", len(data) + 3, 9) == b""
    assert storage.read_range(f"{ROOT}/a", 5, 0) == b""
    draws = random.Random(1)
    with storage.open_read(f"{ROOT}/a") as file:
        assert file.seek(0, 2) == len(data)
        assert file.read(1) == b""
        for _ in range(30):
            start, length = draws.randrange(len(data)), draws.choice((1, 500, 300_000))
            assert file.seek(start) == start
            assert file.read(length) == data[start : start + length]
            assert file.tell() == min(start + length, len(data))


def test_a_shard_read_in_order_takes_few_requests_and_a_cell_of_a_spill_file_little_traffic(s3: Any) -> None:
    storage.write_bytes(f"{ROOT}/a", content_of(20 << 20))
    s3.requests.clear()
    with storage.open_read(f"{ROOT}/a") as file:
        while file.read(512):
            pass
    assert [request.kind for request in s3.requests] == ["HEAD object", "GET object", "GET object"]

    cells = [pa.record_batch({"n": pa.array(range(cell, cell + 100_000))}) for cell in range(8)]
    spill.write_spill(f"{ROOT}/spill", cells)
    s3.requests.clear()
    assert spill.read_spill_cell(f"{ROOT}/spill", 5).equals(
        cells[5].replace_schema_metadata(None), check_metadata=False
    )
    assert spill.spill_rows(f"{ROOT}/spill") == [100_000] * 8
    ranges = [request.headers["Range"].removeprefix("bytes=").split("-") for request in s3.requests[1:] if
              request.kind == "GET object"]  # fmt: skip
    assert sum(int(last) - int(first) + 1 for first, last in ranges) < 4 << 20


def test_an_object_replaced_while_it_is_read_is_an_error(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranged, "FIRST_WINDOW_BYTES", 1 << 20)
    storage.write_bytes(f"{ROOT}/a", content_of(3 << 20, seed=1))
    with storage.open_read(f"{ROOT}/a") as file:
        file.read(1000)
        storage.write_bytes(f"{ROOT}/a", content_of(3 << 20, seed=2))
        with pytest.raises(StorageError, match="changed while it was read"):
            file.read()


def use_every_request(root: str) -> list[Any]:
    """What storage gives for work that makes every kind of request."""
    large, small = content_of(11 << 20, seed=3), content_of(5000, seed=4)
    with storage.atomic_write(f"{root}/large") as file:
        file.write(large)
    storage.write_bytes(f"{root}/sub/small", small)
    storage.write_bytes(f"{root}/gone", small)
    storage.remove(f"{root}/gone")
    created = storage.create_new(f"{root}/new", b"new")
    with contextlib.suppress(RuntimeError), storage.atomic_write(f"{root}/never") as file:
        file.write(large)
        raise RuntimeError
    storage.remove_leftovers(root)
    names = [storage.relative(info.url, root) for info in storage.list_files(root)]
    read = [storage.read_bytes(f"{root}/{name}") for name in names]
    ranges = [storage.read_range(f"{root}/large", start, 70_000) for start in range(0, 11 << 20, 1 << 20)]
    assert read[0] == large
    storage.remove_tree(f"{root}/sub")
    return [created, names, read, ranges, storage.is_dir(f"{root}/sub"), storage.exists(f"{root}/never")]


@pytest.mark.usefixtures("quick_pauses", "small_parts")
@pytest.mark.parametrize(
    "fault", ["503 SlowDown", "500 InternalError", "429 TooManyRequestsException", "reset", "lost", "cut"]
)
def test_every_kind_of_request_may_fail_twice(s3: Any, fault: str, tmp_path: pathlib.Path) -> None:
    s3.plan = lambda request, number: fault if number < 2 else None
    assert use_every_request(ROOT) == use_every_request(str(tmp_path))
    assert open_uploads() == []
    assert {
        "GET object", "GET list", "GET uploads", "HEAD object", "PUT object", "PUT part", "POST uploads",
        "POST complete", "POST delete", "DELETE object", "DELETE upload",
    } <= set(s3.counts)  # fmt: skip


@pytest.mark.usefixtures("quick_pauses", "small_parts")
@pytest.mark.parametrize("seed", [1, 2])
def test_one_request_in_twenty_fails_and_a_burst_of_503_passes(s3: Any, seed: int, tmp_path: pathlib.Path) -> None:
    draws = random.Random(seed)
    faults = ("503 SlowDown", "500 InternalError", "reset", "lost", "cut")
    served = 0

    def plan(request: Any, number: int) -> str | None:
        nonlocal served
        served += 1
        if served % 40 in (10, 11, 12, 13):
            return "503 SlowDown"
        return draws.choice(faults) if draws.random() < 0.05 else None

    s3.plan = plan
    expected = use_every_request(str(tmp_path))
    for turn in range(4):
        assert use_every_request(f"{ROOT}/{turn}") == expected
    assert open_uploads() == []


@pytest.mark.usefixtures("quick_pauses")
def test_a_body_that_breaks_off_again_and_again_is_read_on_from_there(s3: Any) -> None:
    data = content_of(3 << 20)
    storage.write_bytes(f"{ROOT}/a", data)
    s3.plan = lambda request, number: "cut" if request.kind == "GET object" and number < 12 else None
    assert storage.read_bytes(f"{ROOT}/a") == data
    assert s3.counts["GET object"] > 12


@pytest.mark.usefixtures("quick_pauses", "small_parts")
@pytest.mark.parametrize("kind", ["PUT part", "POST uploads", "POST complete", "PUT object"])
@pytest.mark.parametrize("fault", ["503 SlowDown", "reset", "403 AccessDenied", "400 ExpiredToken"])
def test_never_half_an_object_where_writing_fails_for_good(s3: Any, kind: str, fault: str) -> None:
    storage.write_bytes(f"{ROOT}/a", b"old")
    first = 0 if kind.startswith("POST") else 1
    s3.plan = lambda request, number: fault if request.kind == kind and number >= first else None
    with pytest.raises(StorageError), storage.atomic_write(f"{ROOT}/a") as file:
        file.write(content_of(11 << 20 if kind != "PUT object" else 10))
    s3.plan = None
    assert storage.read_bytes(f"{ROOT}/a") == b"old"
    assert open_uploads() == []


@pytest.mark.usefixtures("quick_pauses")
def test_reading_that_fails_for_good_is_an_error_not_an_end(s3: Any) -> None:
    storage.write_bytes(f"{ROOT}/a.jsonl", b'{"text": "x"}\n' * 200_000)
    s3.plan = lambda request, number: "reset" if request.kind == "GET object" and number > 0 else (
        "cut" if request.kind == "GET object" else None)  # fmt: skip
    with pytest.raises(StorageError, match="no answer from S3"):
        list(read_records(f"{ROOT}/a.jsonl"))


def everything_said(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + str(pickle.loads(pickle.dumps(error)))


@pytest.mark.usefixtures("quick_pauses")
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("403 AccessDenied", "access denied"),
        ("400 ExpiredToken", "credentials have expired.*renew them"),
        ("403 SignatureDoesNotMatch", "credentials were refused"),
        ("503 SlowDown", "overloaded or failing.*after 8 attempts"),
        ("400 SomethingElse", "S3 answered SomethingElse"),
        ("403 RequestTimeTooSkewed", "clock is wrong"),
    ],
)
def test_refusals_are_clear_and_hold_no_secret(s3: Any, answer: str, words: str) -> None:
    s3.echo = " ".join(SECRETS) + " https://host/key?X-Amz-Signature=" + SECRETS[2]
    s3.plan = lambda request, number: answer
    for attempt in (lambda: storage.list_files(ROOT), lambda: storage.write_bytes(f"{ROOT}/a", b"x")):
        with pytest.raises(StorageError, match=words) as caught:
            attempt()
        assert "s3://corpus/data" in str(caught.value)
        assert not any(secret in everything_said(caught.value) for secret in SECRETS)


@pytest.mark.usefixtures("quick_pauses")
def test_an_answer_of_expired_credentials_makes_them_be_read_again(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes(f"{ROOT}/a", b"x")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "renewed")
    s3.plan = lambda request, number: (
        None if request.headers.get("X-Amz-Security-Token", request.headers.get("x-amz-security-token")) == "renewed"
        else "400 ExpiredToken")  # fmt: skip
    assert [info.size for info in storage.list_files(ROOT)] == [1]


def test_a_missing_bucket_key_and_name_are_the_users_mistakes(s3: Any) -> None:
    for attempt in (storage.exists, storage.read_bytes, storage.is_dir, storage.list_files, storage.check_writable):
        with pytest.raises(InputError, match="no such bucket: nowhere"):
            attempt("s3://nowhere/a")
    with pytest.raises(InputError, match="s3://corpus/none: no such file"):
        storage.read_bytes("s3://corpus/none")
    with pytest.raises(InputError, match="no bucket; write s3://bucket/key"):
        storage.exists("s3:///a")
    with pytest.raises(InputError, match="not a valid S3 bucket"):
        storage.exists("s3://not a bucket/a")
    with pytest.raises(InputError, match="not the name of an object"):
        storage.write_bytes("s3://corpus", b"")


@pytest.mark.usefixtures("quick_pauses")
def test_an_unreachable_or_wrong_endpoint_is_named(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for endpoint, words in (
        ("http://127.0.0.1:9", "no answer from S3.*127.0.0.1:9.*AWS_ENDPOINT_URL"),
        ("nonsense", "AWS_ENDPOINT_URL"),
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        s3_requests.forget_connection()
        with pytest.raises(CorpusmithError, match=words) as caught:
            storage.exists(f"{ROOT}/a")
        assert not any(secret in everything_said(caught.value) for secret in SECRETS)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (botocore.exceptions.CredentialRetrievalError(provider="x", error_msg="y"), StorageError, "not be fetched"),
        (botocore.exceptions.UnauthorizedSSOTokenError(), StorageError, "not be fetched"),
        (botocore.exceptions.TokenRetrievalError(provider="x", error_msg="y"), StorageError, "not be fetched"),
        (botocore.exceptions.LoginRefreshRequired(), StorageError, "not be fetched"),
        (botocore.exceptions.NoCredentialsError(), InputError, "missing or incomplete"),
        (botocore.exceptions.ProfileNotFound(profile="Credential Token SSO Login"), InputError, "could not be found"),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="u"), StorageError, "no answer from S3"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_was_never_answered_is_told_by_its_type(error: Any, kind: type[Exception], words: str) -> None:
    found = s3_requests.explain_failure("s3://corpus/a", error)
    assert type(found) is kind
    assert words in str(found)


def test_without_credentials_requests_are_unsigned(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes(f"{ROOT}/a", b"open to all")
    assert "Authorization" in s3.requests[-1].headers
    client().put_bucket_policy(Bucket="corpus", Policy=(
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*", '
        '"Resource": ["arn:aws:s3:::corpus", "arn:aws:s3:::corpus/*"]}]}'))  # fmt: skip
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    s3_requests.forget_connection()
    s3.requests.clear()
    assert storage.read_bytes(f"{ROOT}/a") == b"open to all"
    assert not any("Authorization" in request.headers for request in s3.requests)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_shard_has_the_same_bytes_and_checksum_as_on_disk(s3: Any, suffix: str, tmp_path: pathlib.Path) -> None:
    written = []
    for root in (str(tmp_path), ROOT):
        with open_shard_writer(f"{root}/a.jsonl{suffix}") as writer:
            for number in range(3000):
                writer.write({"text": f"page {number}", "url": "http://x/"})
        written.append((storage.read_bytes(f"{root}/a.jsonl{suffix}"), writer.checksum))
        assert [record.index for record in read_records(f"{root}/a.jsonl{suffix}")] == list(range(3000))
    assert written[0] == written[1]


def test_boto3_is_not_imported_before_the_first_url() -> None:
    code = (
        "import sys; from corpusmith.io import spill, storage; from corpusmith.io.pages import shards; "
        "from corpusmith.io.tokens import wds; storage.exists('/nowhere');"
        "assert not {'boto3', 'botocore', 'fsspec'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=pathlib.Path(__file__).resolve().parents[3])


def test_appending_writes_the_object_anew(s3: Any) -> None:
    storage.append_bytes(f"{ROOT}/log", b"a\n")
    storage.append_bytes(f"{ROOT}/log", b"b\n")
    assert storage.read_bytes(f"{ROOT}/log") == b"a\nb\n"
