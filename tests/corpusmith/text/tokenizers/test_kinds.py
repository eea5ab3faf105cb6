"""Where tokenizers come from: presets, published rank files, tiktoken by name, SentencePiece, the hub."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from corpusmith.errors import InputError
from corpusmith.text.tokenizers.load import PRESETS, load_tokenizer, resolve_tokenizer
from tests.corpusmith.text.tokenizers.test_fast_bpe import train


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPUSMITH_TOKENIZERS", str(tmp_path / "tokenizers"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def rank_lines(count: int) -> bytes:
    """A rank file of 256 bytes and made-up longer tokens, `count` in all."""
    tokens = [bytes([byte]) for byte in range(256)]
    tokens += [b"\xff" + number.to_bytes(4, "big") for number in range(count - 256)]
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))


@pytest.mark.parametrize(
    ("ranks", "eot", "num_ids"), [(50256, 50256, 50257), (100256, 100257, 100258), (128000, 128001, 128010)]
)
def test_published_rank_files_are_told_by_their_size(
    tmp_path: pathlib.Path, ranks: int, eot: int, num_ids: int
) -> None:
    path = tmp_path / "t.tiktoken"
    path.write_bytes(rank_lines(ranks))
    tokenizer = load_tokenizer(str(path))
    assert (tokenizer.kind, tokenizer.eot_id, tokenizer.pad_id) == ("tiktoken", eot, eot)
    assert (tokenizer.vocab_size, tokenizer.num_ids) == (ranks, num_ids)
    assert tokenizer.encode("1234") == [ord(each) for each in "1234"]
    assert eot not in tokenizer.encode("<|endoftext|><|end_of_text|>")


def test_llama_3s_model_file_is_a_rank_file(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "tokenizers" / "meta-llama" / "Meta-Llama-3-8B"
    folder.mkdir(parents=True)
    (folder.parent.parent / "meta-llama_Meta-Llama-3-8B.model").write_bytes(rank_lines(128000))
    tokenizer = load_tokenizer("llama-3")
    assert (tokenizer.kind, tokenizer.name, tokenizer.eot_id) == ("tiktoken", "llama-3", 128001)


def test_an_encoding_of_tiktokens_is_taken_from_its_cache(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
    content = rank_lines(100256)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    (tmp_path / hashlib.sha1(url.encode()).hexdigest()).write_bytes(content)
    import tiktoken.load

    # the made-up ranks have another hash than the published ones
    monkeypatch.setattr(tiktoken.load, "check_hash", lambda *_: True)
    tokenizer = load_tokenizer("tiktoken:cl100k_base")
    assert (tokenizer.eot_id, tokenizer.vocab_size, tokenizer.num_ids) == (100257, 100256, 100277)
    with pytest.raises(InputError, match="knows no encoding 'cl101k'"):
        load_tokenizer("tiktoken:cl101k")


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the low lower lowest word", "another one of them", "low and lower"] * 30),
        model_writer=written, vocab_size=60, model_type="bpe", pad_id=3, minloglevel=2,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("sp") / "tokenizer.model"
    path.write_bytes(written.getvalue())
    return path


def test_a_sentencepiece_model_encodes_as_its_package_does(sentencepiece_model: pathlib.Path) -> None:
    import sentencepiece

    tokenizer = load_tokenizer(str(sentencepiece_model))
    package = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_model))
    assert (tokenizer.kind, tokenizer.eot_id, tokenizer.pad_id, tokenizer.num_ids) == ("sentencepiece", 2, 3, 60)
    texts = ["the lowest word", "", "</s> low", "lone \ud800"]
    assert tokenizer.encode_batch(texts[:3]) == [package.encode(text) for text in texts[:3]]
    assert tokenizer.eot_id not in tokenizer.encode("</s> low")
    assert [ids.tolist() for ids in tokenizer.encode_arrays(texts)] == tokenizer.encode_batch(texts)
    assert tokenizer.decode(tokenizer.encode("the lowest word")) == "the lowest word"
    assert load_tokenizer(str(sentencepiece_model.parent)).content_hash == tokenizer.content_hash


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x00" * 50])
def test_what_is_no_sentencepiece_model_is_refused(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(InputError):
        load_tokenizer(str(path))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_that_is_not_at_hand_says_where_it_was_looked_for(preset: str) -> None:
    with pytest.raises(InputError, match="CORPUSMITH_TOKENIZERS") as caught:
        load_tokenizer(preset)
    assert PRESETS[preset].replace("/", "_") in str(caught.value)
    assert "not in Hugging Face's cache" in str(caught.value)


@pytest.mark.parametrize("name", ["../secret", "a/../b", "/etc/passwd", "~/x", "a/b/c"])
def test_a_name_that_leaves_the_folder_is_no_name(name: str) -> None:
    with pytest.raises(InputError, match="not found"):
        resolve_tokenizer(name)


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as its client asks for: one repository with a tokenizer.json."""

    content = b""

    def _answer(self, body: bool) -> None:
        if self.path != "/owner/name/resolve/main/tokenizer.json":
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.send_header("ETag", '"abc"')
        self.send_header("X-Repo-Commit", "1" * 40)
        self.end_headers()
        if body:
            self.wfile.write(self.content)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    import orjson
    from tokenizers import pre_tokenizers

    _Hub.content = orjson.dumps(train(pre_tokenizers.ByteLevel(add_prefix_space=False)))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_name_is_fetched_from_the_hub_once_and_then_lies_in_its_cache(hub: str, tmp_path: pathlib.Path) -> None:
    """In processes of their own: the hub's client reads its environment when it is imported."""
    code = (
        "import sys; from corpusmith.text.tokenizers.load import load_tokenizer; "
        "print(load_tokenizer(sys.argv[1]).eot_id)"
    )
    environment = os.environ | {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}

    def ask(name: str, offline: str) -> subprocess.CompletedProcess[str]:
        variables = environment | {"HF_HUB_OFFLINE": offline}
        return subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, env=variables)

    first = ask("owner/name", "0")
    assert first.stdout.strip() == "0", first.stderr[-1500:]
    assert ask("owner/name", "1").stdout.strip() == "0"
    missing = ask("owner/other", "0")
    assert "the hub has no such repository" in missing.stderr
