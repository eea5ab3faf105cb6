"""One small run down the whole line by the command alone: what it writes is what users' scripts read."""

from __future__ import annotations

import json
import pathlib
import tarfile
from typing import Any

from corpusmith.cli import main
from tests.doors.tables import ROOT

PAGES = 24
WORDS = 60
SEQ_LEN = 256  # of the tiny scale
PIPELINE = """
- source: cc
  steps:
    - func: word_counter_enricher
      _aggregate: {word_count: percentiles}
    - commit
    - {func: exact_dedup, content_key: text}
    - {func: page_length_filter, length_type: word, min_length: 3}
"""
WARC = (
    b"WARC/1.0\r\nWARC-Type: warcinfo\r\nWARC-Record-ID: <urn:uuid:1>\r\nWARC-Date: 2024-03-01T00:00:00Z\r\n"
    b"Content-Type: application/warc-fields\r\nContent-Length: 14\r\n\r\nsoftware: none\r\n\r\n"
    b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:2>\r\nWARC-Date: 2024-03-01T00:00:01Z\r\n"
    b"WARC-Target-URI: http://example.org/\r\nContent-Type: application/http; msgtype=response\r\n"
    b"Content-Length: %d\r\n\r\n%b\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    b"<html><body><p>A paragraph of some words that stays.</p></body></html>"
)


def corpusmith(*words: object) -> None:
    """Call the command; it must succeed."""
    assert main([str(word) for word in words]) == 0


def rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def only(folder: pathlib.Path, pattern: str) -> pathlib.Path:
    """The one file of a folder that a pattern fits."""
    (found,) = folder.rglob(pattern)
    return found


class Line:
    """The folders of a run and the objects in its files."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.database = root / "exp_data"

    def make(self) -> None:
        """Ingest an archive; filter, tokenize, train on and evaluate some pages."""
        self._ingest()
        self._process()
        self._tokenize()
        self._train()
        self._evaluate()

    def _ingest(self) -> None:
        (self.root / "crawl").mkdir()
        (self.root / "crawl" / "x.warc").write_bytes(WARC % (len(RESPONSE), RESPONSE))
        (self.root / "ingest.yaml").write_text("output: jsonl\n")
        corpusmith(
            *("ingest", "--input", self.root / "crawl", "--output_dir", self.root / "crawled"),
            *("--readable_name", "crawled", "--exp-data-dir", self.database, "--config", self.root / "ingest.yaml"),
        )
        (self.root / "paths.txt").write_text("s3://commoncrawl/a.warc.gz\ns3://commoncrawl/b.warc.gz\n")
        corpusmith(
            *("common-crawl", "sample", "--keys-path", self.root / "paths.txt", "--subset-size", 1),
            *("--name", "sampled", "--exp_data_path", self.database),
        )

    def _process(self) -> None:
        (self.root / "pages").mkdir()
        pages = [{"text": " ".join(f"w{page % 20}x{word % 9}" for word in range(WORDS))} for page in range(PAGES)]
        (self.root / "pages" / "a.jsonl").write_text("".join(f"{json.dumps(page)}\n" for page in pages))
        (self.root / "cfg.yaml").write_text(PIPELINE)
        corpusmith(
            *("process", "--raw_data_dirpath", self.root / "pages", "--config_path", self.root / "cfg.yaml"),
            *("--source_name", "cc", "--output_dir", self.root / "out", "--readable_name", "filtered"),
            *("--exp-data-dir", self.database),
        )

    def _tokenize(self) -> None:
        corpusmith(
            *("train-tokenizer", "--input", self.root / "pages", "--output", self.root / "tokenizer.json"),
            *("--vocab_size", 300),
        )
        corpusmith(
            *("tokenize", "--input", self.root / "out" / "cfg" / "processed_data", "--output", self.root / "tokens"),
            *("--tokenizer", self.root / "tokenizer.json", "--seqlen", SEQ_LEN, "--wds_chunk_size", 8),
            *("--readable_name", "tokens", "--exp-data-dir", self.database),
        )

    def _train(self) -> None:
        reference = self.database / "datasets" / "tokenized" / "tokens.json"
        corpusmith(
            *("train", "--scale", "tiny", "--data-config", reference, "--val-data", reference, "--workers", 1),
            *("--logs", self.root / "logs", "--git-db", self.database / "models", "--multiple-data-passes"),
            *("--chinchilla-multiplier", "0.00007", "--global-bs", 4, "--warmup", 1, "--num-checkpoints", 1),
        )

    def _evaluate(self) -> None:
        suite = ROOT / "eval" / "sample.yaml"
        (self.root / "suite" / "sample_data").mkdir(parents=True)
        (self.root / "suite" / "sample.yaml").write_text(suite.read_text())
        for path in (suite.parent / "sample_data").glob("*.jsonl"):
            first = path.read_text().splitlines(keepends=True)[:4]
            (self.root / "suite" / "sample_data" / path.name).write_text("".join(first))
        corpusmith(
            *("eval", "--database_path", self.database, "--eval_yaml", self.root / "suite" / "sample.yaml"),
            *("--tokenizer", self.root / "tokenizer.json", "--output_dir", self.database / "evals"),
        )

    def reference(self, *folders: str) -> dict[str, Any]:
        """The one reference JSON of a folder of the database."""
        (path,) = self.database.joinpath(*folders).glob("*.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def objects(self) -> dict[str, list[str]]:
        """The keys of everything that users read, by what it is."""
        model = self.reference("models")
        stats = {row["name"]: row for row in rows(self.root / "out" / "cfg" / "stats" / "a_stats.jsonl")}
        local, dedup, _ = rows(self.root / "out" / "cfg" / "global_stats.jsonl")
        evaluation = self.reference("evals")
        found = {
            "page of an archive": rows(only(self.root / "crawled" / "processed_data", "*.jsonl"))[0],
            "raw source, sampled": json.loads(only(self.database, "sampled.json").read_text()),
            "raw source": json.loads(only(self.database / "datasets", "crawled.json").read_text()),
            "untokenized": json.loads(only(self.database / "datasets", "filtered.json").read_text()),
            "tokenized": self.reference("datasets", "tokenized"),
            "manifest line": rows(self.root / "tokens" / "manifest.jsonl")[0],
            "statistics of a shard, start": stats["process_setup"],
            "statistics of a shard, step": stats["page_length_filter"],
            "statistics of a shard, step with an aggregate": stats["word_counter_enricher"],
            "statistics of a shard, end": stats["process_finished"],
            "statistics of a shard, commit": stats["commit"],
            "statistics of a shard, exact_dedup": stats["exact_dedup"],
            "percentiles": stats["word_counter_enricher"]["word_count"],
            "global statistics, local": local,
            "global statistics, global function": dedup,
            "model": model,
            "hyperparameters": model["hyperparameters"],
            "validation result": model["results"][0],
            "evaluation": evaluation,
            "eval_metrics": evaluation["eval_metrics"],
            **{f"{stem}_1.pt": self._checkpoint(stem) for stem in ("epoch", "optimizer", "stats")},
        }
        return {name: list(row) for name, row in found.items()}

    def _checkpoint(self, stem: str) -> dict[str, Any]:
        import torch

        found: dict[str, Any] = torch.load(only(self.root / "logs", f"{stem}_1.pt"), weights_only=True)
        return found

    def params(self) -> list[str]:
        """The names in the run's params.txt."""
        return [line.partition(": ")[0] for line in only(self.root / "logs", "params.txt").read_text().splitlines()]

    def files(self) -> list[str]:
        """The files that users go to, relative to the root; the model's name is written NAME."""
        model = self.reference("models")["name"]
        wanted = ("exp_data", "out/cfg/processed_data", "out/cfg/stats", "tokens", "logs")
        found = [path for folder in wanted for path in (self.root / folder).rglob("*") if path.is_file()]
        found.append(self.root / "out" / "cfg" / "global_stats.jsonl")
        return sorted(str(path.relative_to(self.root)).replace(model, "NAME") for path in found)

    def members(self) -> list[str]:
        """The members of the first token shard."""
        with tarfile.open(self.root / "tokens" / "00000001.tar") as shard:
            return shard.getnames()
