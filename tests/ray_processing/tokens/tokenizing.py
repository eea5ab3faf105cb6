"""What the tests of tokenizing share: pages, a small tokenizer, runs without Ray, documents put together again."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np

from corpusmith.io.pages.shards import open_shard_writer
from corpusmith.io.tokens.shards import open_token_shards
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Outcome, Runner
from corpusmith.run.run import RunOptions, RunResult
from corpusmith.text.tokenizers.load import load_tokenizer
from ray_processing.tokens.outcome import finish_tokens
from ray_processing.tokens.request import TokenRequest
from ray_processing.tokens.stages import TokenRun, open_run
from ray_processing.tokens.trace import _partitions, _read, _sources, open_log
from ray_processing.tokens.train_tokenizer import TokenizerTraining, train_tokenizer


class InlineRunner:
    """The seam of the runner, in this process, last task first."""

    def __init__(self, _: Execution | None = None) -> None:
        pass

    def __enter__(self) -> InlineRunner:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function: Callable[[Any], Any], tasks: Sequence[Any], **_: Any) -> Iterator[Outcome[Any]]:
        for index, task in reversed(list(enumerate(tasks))):
            yield Outcome(index=index, value=function(task))


def words(shard: int, page: int) -> str:
    """Between none and 59 words, different on each page."""
    return " ".join(f"w{shard}x{page}y{number % 7}" for number in range((shard * 31 + page * 17) % 60))


def make_home(root: pathlib.Path, names: Sequence[str], pages: int) -> pathlib.Path:
    """A folder with `pages/`, whose shards have these names, and a `tokenizer.json`."""
    for shard, name in enumerate(names):
        with open_shard_writer(str(root / "pages" / name)) as writer:
            for page in range(pages):
                row = {"id": f"{name}/{page}", "text": words(shard, page), "metadata": {"domain": f"d{page % 3}"}}
                writer.write(row)
    content = train_tokenizer(str(root / "pages"), TokenizerTraining(vocab_size=300))[0]
    (root / "tokenizer.json").write_bytes(content)
    return root


def request_for(home: pathlib.Path, output: pathlib.Path, **more: Any) -> TokenRequest:
    """A request with small sequences and shards."""
    request: dict[str, Any] = {
        "inputs": (str(home / "pages"),), "references": (), "output": str(output / "tokens"), "name": "toy",
        "exp_data_dir": str(output / "exp_data"), "tokenizer": str(home / "tokenizer.json"), "seqlen": 15,
        "shard_sequences": 40,
    }  # fmt: skip
    return TokenRequest(**(request | more))


def execute(request: TokenRequest) -> tuple[TokenRun, RunResult]:
    """Run a request without Ray."""
    tokens = open_run(request)
    tokens.run._open_runner = cast("Callable[[Execution], Runner]", InlineRunner)
    result = tokens.run.execute(Execution(), RunOptions(overwrite=request.overwrite))
    finish_tokens(tokens, result)
    return tokens, result


def rows_of(folder: pathlib.Path) -> list[list[int]]:
    """All rows of a tokenized data set in order."""
    data = open_token_shards(str(folder))
    return [row.tokens.tolist() for entry in data.entries for row in data.read(entry.shard)]


def source_documents(home: pathlib.Path, names: Sequence[str], pages: int) -> list[list[int]]:
    """The documents with their end tokens, straight from the tokenizer."""
    tokenizer = load_tokenizer(str(home / "tokenizer.json"))
    texts = [words(shard, page) for shard in range(len(names)) for page in range(pages)]
    return [[*ids, tokenizer.eot_id] for ids in tokenizer.encode_batch(texts)]


def rebuilt_documents(output: pathlib.Path) -> list[list[int]]:
    """The documents of the first copies, put together from the shards by the build log."""
    data = open_token_shards(str(output))
    rows = {
        (entry.shard, row): found.tokens for entry in data.entries for row, found in enumerate(data.read(entry.shard))
    }
    log = open_log(str(output))
    placed = {}
    for table in _partitions(log):
        for place in table.to_pylist():
            if place["copy"] == 0:
                placed[place["source"], place["position"]] = rows[place["shard"], place["row"]]
    documents: dict[tuple[str, int], list[int]] = {}
    for source in _sources(log):
        pieces = sorted(_read(log.pages, source, "pieces").to_pylist(), key=lambda p: (p["document"], p["start"]))
        for piece in pieces:
            tokens = placed[source, piece["position"]][piece["offset"] : piece["offset"] + piece["length"]]
            documents.setdefault((source, piece["document"]), []).extend(np.asarray(tokens).tolist())
    return [documents[key] for key in sorted(documents)]
