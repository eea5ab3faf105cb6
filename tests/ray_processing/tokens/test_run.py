"""Whole runs of `corpusmith tokenize` without Ray: nothing is lost in any format and packing, and all is mixed."""

from __future__ import annotations

import base64
import collections
import io
import json
import math
import pathlib
import tarfile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpusmith.errors import ConfigError, InputError
from corpusmith.expdb.references import load_dataset
from corpusmith.io.pages.shards import open_shard_writer, read_shard
from corpusmith.io.tokens.shards import FORMATS, open_token_shards
from corpusmith.run.ray.execution import Execution
from corpusmith.text.packing import MODES
from corpusmith.text.tokenizers.load import load_tokenizer
from ray_processing.tokens import detokenize, detokenize_stage
from ray_processing.tokens.estimate import estimate_lines
from ray_processing.tokens.stages import open_run
from ray_processing.tokens.trace import main as trace_main
from ray_processing.tokens.trace import trace_page, trace_rows
from tests.ray_processing.tokens.tokenizing import (
    InlineRunner,
    execute,
    make_home,
    rebuilt_documents,
    request_for,
    rows_of,
    source_documents,
    words,
)

NAMES = ("books.jsonl", "web/a.jsonl.zst", "web/b.jsonl.gz", "wiki.jsonl.zst")
PAGES = 40


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return make_home(tmp_path_factory.mktemp("home"), NAMES, PAGES)


@pytest.fixture(scope="module")
def plain(home: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A finished run at the defaults; its output folder."""
    root = tmp_path_factory.mktemp("plain")
    execute(request_for(home, root))
    return root / "tokens"


# --- nothing is lost ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack_by", [None, "metadata.domain"])
@pytest.mark.parametrize("mode", MODES)
def test_every_document_comes_back_whatever_the_packing(
    home: pathlib.Path, tmp_path: pathlib.Path, mode: str, pack_by: str | None
) -> None:
    execute(request_for(home, tmp_path, pack=mode, pack_by=pack_by, format_name="mds"))
    assert rebuilt_documents(tmp_path / "tokens") == source_documents(home, NAMES, PAGES)
    lengths = {len(row) for row in rows_of(tmp_path / "tokens")}
    assert lengths == {16} if mode != "document" else max(lengths) == 16


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_format_holds_the_same_sequences_in_the_same_order(
    home: pathlib.Path, plain: pathlib.Path, tmp_path: pathlib.Path, format_name: str
) -> None:
    tokens, _ = execute(request_for(home, tmp_path, format_name=format_name))
    assert rows_of(tmp_path / "tokens") == rows_of(plain)
    assert rebuilt_documents(tmp_path / "tokens") == source_documents(home, NAMES, PAGES)
    reference = load_dataset(tokens.reference_url)
    rows = rows_of(plain)
    assert (reference.num_tokens, reference.extra["num_sequences"]) == (16 * len(rows), len(rows))
    assert reference.extra["format"] == format_name
    assert open_token_shards(reference.dataset_url or "").format == format_name


@pytest.mark.parametrize("format_name", FORMATS)
def test_detokenizing_gives_every_text_again(
    home: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, format_name: str
) -> None:
    """A document per sequence, none of them cut: the pages are the texts."""
    request = request_for(home, tmp_path, format_name=format_name, pack="document", seqlen=100_000)
    execute(request)
    monkeypatch.setattr("corpusmith.run.run.Run.__init__.__defaults__", (InlineRunner,))
    flags = ["--exp-data-dir", request.exp_data_dir]
    assert detokenize.main([request.output, str(tmp_path / "back"), *flags]) == 0
    pages = [page for path in sorted((tmp_path / "back").iterdir()) for page in read_shard(str(path))]
    expected = [words(shard, page) for shard in range(len(NAMES)) for page in range(PAGES)]
    assert sorted(page["text"] for page in pages) == sorted(expected)
    tokenizer = load_tokenizer(request.tokenizer)
    assert all(page["token_count"] == len(tokenizer.encode(page["text"])) for page in pages)
    assert detokenize.main([request.output, str(tmp_path / "back"), *flags]) == 0  # finished before


def test_detokenizing_packed_sequences_cuts_at_the_ends_of_texts_and_drops_padding(
    home: pathlib.Path, plain: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpusmith.run.run.Run.__init__.__defaults__", (InlineRunner,))
    arguments = [str(plain), str(tmp_path / "back"), "--tokenizer", str(home / "tokenizer.json")]
    assert detokenize.main(arguments) == 0
    pages = [page for path in sorted((tmp_path / "back").iterdir()) for page in read_shard(str(path))]
    documents = source_documents(home, NAMES, PAGES)
    # an end-of-text token that begins a sequence is a part without tokens, and so is an empty document
    assert sum(page["token_count"] for page in pages) == sum(len(document) - 1 for document in documents)
    assert not any("<|padding|>" in page["text"] for page in pages)


@pytest.mark.parametrize(
    ("row", "pad", "parts"),
    [
        ([5, 6, 0, 7, 0, 1, 1], 1, [[5, 6], [7]]),
        ([5, 6, 0, 7], 1, [[5, 6], [7]]),
        ([0, 5, 0], 1, [[], [5]]),
        ([5, 1, 1], 1, [[5, 1, 1]]),  # no end of text before it: not padding
        ([1, 1, 1], 1, []),
        ([5, 0, 0, 0], 0, [[5]]),
        ([5, 6], 0, [[5, 6]]),
    ],
)
def test_rows_are_split_at_ends_of_text(row: list[int], pad: int, parts: list[list[int]]) -> None:
    assert [part.tolist() for part in detokenize_stage.split_row(np.array(row), 0, pad)] == parts


# --- all is mixed ------------------------------------------------------------------------------------------------


def chi_square(pairs: list[tuple[float, float]], bins: int = 8) -> tuple[float, float]:
    """The statistic of independence of two places in [0, 1), and its critical value at 1e-4 (Wilson-Hilferty)."""
    table = collections.Counter((int(one * bins), int(other * bins)) for one, other in pairs)
    rows = [sum(table[i, j] for j in range(bins)) for i in range(bins)]
    columns = [sum(table[i, j] for i in range(bins)) for j in range(bins)]
    expected = {(i, j): rows[i] * columns[j] / len(pairs) for i in range(bins) for j in range(bins)}
    statistic = sum((table[partition] - value) ** 2 / value for partition, value in expected.items())
    freedom = (bins - 1) ** 2
    spread = 2 / (9 * freedom)
    return statistic, freedom * (1 - spread + 3.719 * math.sqrt(spread)) ** 3


def places(output: pathlib.Path, level: str) -> list[tuple[float, float]]:
    """(place in the source, place in the output) of each sequence or document, from the build log."""
    data = open_token_shards(str(output))
    found = [(entry.shard, row) for entry in data.entries for row in range(entry.num_sequences)]
    order = {place: number for number, place in enumerate(found)}
    keys: list[tuple[tuple[Any, ...], int]] = []
    for entry in data.entries:
        for piece in trace_rows(str(output), entry.shard):
            source = (piece["source"], piece["position"] if level == "sequence" else piece["index"])
            if level == "sequence" or piece["start"] == 0:
                keys.append((source, order[piece["shard"], piece["row"]]))
    ranked = {key: number for number, key in enumerate(sorted({key for key, _ in keys}))}
    unique = dict(keys)
    return [(ranked[key] / len(ranked), place / len(order)) for key, place in unique.items()]


@pytest.mark.parametrize("level", ["sequence", "document"])
def test_where_something_stood_in_the_source_says_nothing_about_where_it_is(
    plain: pathlib.Path, home: pathlib.Path, tmp_path: pathlib.Path, level: str
) -> None:
    statistic, critical = chi_square(places(plain, level))
    assert statistic < critical
    execute(request_for(home, tmp_path, shuffle=False))
    statistic, _ = chi_square(places(tmp_path / "tokens", level))
    assert statistic > 5 * critical  # the test tells an order from none


def test_no_shard_comes_from_one_source(plain: pathlib.Path) -> None:
    for entry in open_token_shards(str(plain)).entries:
        sources = collections.Counter(piece["source"] for piece in trace_rows(str(plain), entry.shard))
        assert len(sources) >= (len(NAMES) if entry.num_sequences == 40 else 2)


# --- the build log -----------------------------------------------------------------------------------------------


def test_a_page_is_traced_to_its_sequences_and_back(
    home: pathlib.Path, plain: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = load_tokenizer(str(home / "tokenizer.json"))
    expected = [*tokenizer.encode(words(1, 7)), tokenizer.eot_id]
    data = open_token_shards(str(plain))
    for name in ("web/a.jsonl.zst/7", "web/a.jsonl.zst:7"):
        pieces = list(trace_page(str(plain), name))
        found = []
        for piece in pieces:
            row = list(data.read(piece["shard"]))[piece["row"]].tokens.tolist()
            found += row[piece["offset"] : piece["offset"] + piece["length"]]
            assert piece in list(trace_rows(str(plain), piece["shard"], piece["row"]))
        assert found == expected
    assert trace_main([str(plain), "--page", "web/a.jsonl.zst/7"]) == 0
    assert [json.loads(line)["start"] for line in capsys.readouterr().out.splitlines()] == [p["start"] for p in pieces]
    assert trace_main([str(plain), "--page", "nobody"]) == 2
    assert trace_main([str(plain)]) == 2
    assert trace_main([str(home / "pages"), "--page", "x"]) == 2


@pytest.mark.parametrize("suffix", [".tar", ".parquet", ".bin", ""])
def test_the_log_of_training_joins_pages_with_steps(
    plain: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    piece = next(iter(trace_page(str(plain), "wiki.jsonl.zst/3")))
    other = [{"step": 1, "shard": f"/else/where/{piece['shard']}{suffix}", "row": piece["row"]}]
    own = [{"step": step, "shard": f"{plain}/{piece['shard']}{suffix}", "row": piece["row"]} for step in (9, 4)]
    (tmp_path / "sequences").mkdir()
    pq.write_table(pa.Table.from_pylist(other + own), tmp_path / "sequences" / "steps_1_to_9.rank0.parquet")
    flags = ["--experiment", str(tmp_path)]
    assert trace_main([str(plain), "--page", "wiki.jsonl.zst/3", *flags]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["steps"] == [4, 9]
    assert trace_main([str(plain), "--page", "wiki.jsonl.zst/3", "--experiment", str(plain)]) == 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("format_name", ["wds", "mds", "parquet"])
def test_provenance_with_each_sequence_is_that_of_the_log(
    home: pathlib.Path, tmp_path: pathlib.Path, format_name: str, mode: str
) -> None:
    execute(request_for(home, tmp_path, format_name=format_name, pack=mode, with_source=True))
    data = open_token_shards(str(tmp_path / "tokens"))
    entry = data.entries[0]
    for number, row in list(enumerate(data.read(entry.shard)))[:15]:
        pieces = list(trace_rows(str(tmp_path / "tokens"), entry.shard, number))
        assert row.meta["pages"] == [piece["page"] for piece in pieces]
        assert row.meta["source"] == pieces[0]["source"]


def test_domains_are_kept_apart_and_named(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    execute(request_for(home, tmp_path, pack_by="metadata.domain", with_source=True, format_name="parquet"))
    data = open_token_shards(str(tmp_path / "tokens"))
    rows = [row for entry in data.entries for row in data.read(entry.shard)]
    for row in rows:
        assert {f"d{int(page.rpartition('/')[2]) % 3}" for page in row.meta["pages"]} == {row.meta["source"]}
    assert {row.meta["source"] for row in rows} == {"d0", "d1", "d2"}


# --- mixtures ----------------------------------------------------------------------------------------------------


def write_yaml(path: pathlib.Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("mode", ["concat", "document"])
def test_a_mixture_is_realised_within_one_sequence_and_never_repeats_a_row_before_all_were_read(
    home: pathlib.Path, tmp_path: pathlib.Path, mode: str
) -> None:
    mixture = write_yaml(
        tmp_path / "mix.yaml",
        "pool_tokens: 20_000\nsources:\n"
        "  - {source: books, tokens: 9000}\n"
        "  - {source: web, proportion: 0.7}\n"
        "  - {source: wiki, proportion: 0.3, markers: [wiki.jsonl]}\n",
    )
    tokens, result = execute(request_for(home, tmp_path, mixture_yaml=mixture, pack=mode, format_name="mds"))
    report = json.loads((tmp_path / "run" / "tokens" / "mixture.json").read_bytes())
    wanted = {"books": 9000, "web": 7700, "wiki": 3300}
    copies: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    found: collections.Counter[str] = collections.Counter()
    data = open_token_shards(str(tmp_path / "tokens"))
    for entry in data.entries:
        for row in data.read(entry.shard):
            name = row.meta["id"].partition("@")[0]
            source = name.partition("/")[0].partition(".")[0]
            found[source] += len(row.tokens)
            copies[source][name] += 1
    for source, target in wanted.items():
        assert abs(found[source] - target) <= 16
        assert report["sources"][source]["realised_tokens"] == found[source]
        assert (
            max(copies[source].values())
            - (min(copies[source].values()) if report["sources"][source]["epochs"] >= 1 else 0)
            <= 1
        )
        assert sum(copies[source].values()) == report["sources"][source]["rows"]
    assert sum(found.values()) == report["realised_tokens"]
    if mode == "concat":
        assert abs(sum(found.values()) - 20_000) <= 16
    reference = load_dataset(tokens.reference_url)
    assert reference.num_tokens == sum(found.values())
    assert reference.extra["mixture"] == report
    ledger = json.loads((tmp_path / "run" / "tokens" / "ledger.json").read_bytes())["total"]
    assert ledger["read"] + ledger["added"] == ledger["kept"] + sum(ledger["removed"].values())
    assert not result.was_finished


def test_dclms_sampling_copies_by_frequency_and_the_rest_of_a_file_once(
    home: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    sampling = write_yaml(
        tmp_path / "sample.yaml",
        "sources:\n  - {source: BOOKS, markers: [books]}\n  - {source: WEB, markers: [web/]}\n"
        "sampling_frequencies: {BOOKS: 2.25, WEB: 1.0, UNKNOWN: 0}\n",
    )
    tokens, _ = execute(request_for(home, tmp_path, sampling_yaml=sampling, format_name="mds"))
    data = open_token_shards(str(tmp_path / "tokens"))
    copies: collections.Counter[str] = collections.Counter()
    for entry in data.entries:
        for row in data.read(entry.shard):
            copies[row.meta["id"].partition("@")[0]] += 1
    by_source: dict[str, list[int]] = collections.defaultdict(list)
    for name in sorted(copies, key=lambda name: (name.partition("#")[0], int(name.partition("#")[2]))):
        by_source[name.partition("#")[0]].append(copies[name])
    assert set(by_source["books.jsonl"][:-1]) == {2, 3}
    assert 2.1 < sum(by_source["books.jsonl"][:-1]) / len(by_source["books.jsonl"][:-1]) < 2.4
    assert by_source["books.jsonl"][-1] == 1
    assert set(by_source["web/a.jsonl.zst"]) == {1}
    assert by_source["wiki.jsonl.zst"] == [1]  # unknown: nothing but the rest of the file
    assert load_dataset(tokens.reference_url).sampling_yaml["sampling_frequencies"]["BOOKS"] == 2.25  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sources: [{source: web, tokens: 5, repeat: 1}]", "exactly one"),
        ("sources: [{source: web}]", "exactly one"),
        ("sources: [{source: web, tokns: 5}]", "did you mean 'tokens'"),
        ("sources: [{source: web, tokens: many}]", r"mix.yaml:1: sources\[0\].tokens"),
        ("sources: [{source: web, repeat: 1}]", "belongs to no source"),
        ("sources: []", "at least one source"),
        ("pool: 5\nsources: [{source: web, repeat: 1}]", "unknown key"),
    ],
)
def test_a_wrong_mixture_names_file_and_key(
    home: pathlib.Path, tmp_path: pathlib.Path, text: str, message: str
) -> None:
    mixture = write_yaml(tmp_path / "mix.yaml", text)
    with pytest.raises((ConfigError, InputError), match=message):
        open_run(request_for(home, tmp_path, mixture_yaml=mixture))


def test_a_sampling_without_a_frequency_is_refused(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    sampling = write_yaml(
        tmp_path / "s.yaml", "sources: [{source: A, markers: [x]}]\nsampling_frequencies: {UNKNOWN: 1}\n"
    )
    with pytest.raises(ConfigError, match="'A' has no frequency"):
        open_run(request_for(home, tmp_path, sampling_yaml=sampling))


# --- tars as input, DCLM's way -----------------------------------------------------------------------------------


def write_tar(path: pathlib.Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def npy(values: list[Any]) -> bytes:
    written = io.BytesIO()
    np.save(written, np.array(values))
    return written.getvalue()


@pytest.mark.parametrize("content_key", ["txt", "json:body", "npy"])
def test_documents_come_out_of_tars(home: pathlib.Path, tmp_path: pathlib.Path, content_key: str) -> None:
    tokenizer = load_tokenizer(str(home / "tokenizer.json"))
    texts = ["low lower", "", "w1x2y3"]
    members = {}
    for number, text in enumerate(texts):
        members[f"{number}.txt"] = text.encode()
        members[f"{number}.json"] = json.dumps({"body": text}).encode()
        members[f"{number}.npy"] = npy(tokenizer.encode(text))
    members["1.npy"] = no_ids()
    members |= {"bad.txt": b"\xff", "bad.json": b'{"body": 7}', "bad.npy": npy([1.5])}
    write_tar(tmp_path / "in" / "a.tar", members)
    request = request_for(
        home, tmp_path, inputs=(str(tmp_path / "in"),), suffixes=(".tar",), content_key=content_key, format_name="mds"
    )
    _, result = execute(request)
    assert rebuilt_documents(tmp_path / "tokens") == [[*tokenizer.encode(text), 0] for text in texts]
    assert result.stages[0].counts().errored == {"read": 1}
    piece = next(iter(trace_page(str(tmp_path / "tokens"), "2")))
    assert piece["source"] == "a.tar"


def no_ids() -> bytes:
    """An array of no ids."""
    written = io.BytesIO()
    np.save(written, np.array([], dtype=np.uint16))
    return written.getvalue()


def test_the_lost_rest_of_a_tar_is_set_aside(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    write_tar(tmp_path / "in" / "a.tar", {f"{number}.txt": b"low" * 300 for number in range(4)})
    content = (tmp_path / "in" / "a.tar").read_bytes()
    (tmp_path / "in" / "a.tar").write_bytes(content[:3000])
    _, result = execute(
        request_for(home, tmp_path, inputs=(str(tmp_path / "in"),), suffixes=(".tar",), content_key="txt")
    )
    counts = result.stages[0].counts()
    assert (counts.read, counts.kept, counts.errored) == (2, 1, {"read": 1})


def test_a_content_key_that_is_none_of_tars_is_refused(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    write_tar(tmp_path / "in" / "a.tar", {"a.txt": b"low"})
    request = request_for(home, tmp_path, inputs=(str(tmp_path / "in"),), suffixes=(".tar",))
    with pytest.raises(InputError, match="--content_key for tars"):
        open_run(request)
    (tmp_path / "in" / "b.jsonl").write_text('{"text": "a"}\n')
    request = request_for(
        home, tmp_path, inputs=(str(tmp_path / "in"),), suffixes=(".tar", ".jsonl"), content_key="txt"
    )
    with pytest.raises(InputError, match="tokenize them apart"):
        open_run(request)


@pytest.mark.parametrize("name", ["shard_0.tokenized.parquet", "part_0.tokenized.jsonl"])
def test_climbmix_is_taken_as_input_by_its_token_ids(home: pathlib.Path, tmp_path: pathlib.Path, name: str) -> None:
    rows = [
        {"tokens": [5, 6, 7], "token_count": 3, "cluster_id": 2},
        {"tokens": [8], "token_count": 1, "cluster_id": 1},
    ]
    with open_shard_writer(str(tmp_path / "in" / name)) as writer:
        for row in rows:
            writer.write(row)
    execute(request_for(home, tmp_path, inputs=(str(tmp_path / "in"),), content_key="tokens", pack="document"))
    assert sorted(rows_of(tmp_path / "tokens")) == [[5, 6, 7, 0], [8, 0]]


def test_lists_that_are_no_token_ids_are_set_aside(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "in").mkdir()
    values = ["[1, 2]", "[-1]", "[1.5, 2]", '["a"]', "[[1]]", "[4294967296]", "[]", "[null]"]
    (tmp_path / "in" / "a.jsonl").write_text("".join(f'{{"t": {value}}}\n' for value in values))
    _, result = execute(request_for(home, tmp_path, inputs=(str(tmp_path / "in"),), content_key="t", pack="document"))
    assert result.stages[0].counts().errored == {"tokenize": 6}
    assert sorted(rows_of(tmp_path / "tokens")) == [[0], [1, 2, 0]]


# --- edges -------------------------------------------------------------------------------------------------------


def test_empty_documents_count_and_end_with_their_token(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.jsonl").write_text('{"text": ""}\n{"text": ""}\n')
    execute(request_for(home, tmp_path, inputs=(str(tmp_path / "in"),)))
    assert rows_of(tmp_path / "tokens") == [[0, 0, *[1] * 14]]


@pytest.mark.parametrize("lines", [100_000, pytest.param(4_500_000, marks=[pytest.mark.all, pytest.mark.slow])])
def test_a_document_of_up_to_100_megabytes_is_tokenized_in_pieces(
    home: pathlib.Path, tmp_path: pathlib.Path, lines: int
) -> None:
    text = "low lower lowest words\n" * lines
    with open_shard_writer(str(tmp_path / "in" / "x.jsonl.zst")) as writer:
        writer.write({"text": text})
    execute(request_for(home, tmp_path, inputs=(str(tmp_path / "in"),), seqlen=1000, format_name="bin"))
    tokenizer = load_tokenizer(str(home / "tokenizer.json"))
    assert rebuilt_documents(tmp_path / "tokens") == [[*tokenizer.encode(text), 0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pack": "tight"}, "--pack"),
        ({"format_name": "tar"}, "--format"),
        ({"dtype": "uint8"}, "dtype"),
        ({"format_name": "bin", "with_source": True}, "--with_source"),
        ({"mixture_yaml": "m.yaml", "sampling_yaml": "s.yaml"}, "--mixture"),
        ({"mixture_yaml": "m.yaml", "shuffle": False}, "--mixture"),
        ({"tokenizer": "nobody.tiktoken"}, "nobody.tiktoken"),
    ],
)
def test_what_cannot_be_is_refused_by_its_flag(
    home: pathlib.Path, tmp_path: pathlib.Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_run(request_for(home, tmp_path, **change))


def test_16_bits_are_refused_for_a_vocabulary_that_is_too_large(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    tokens = [b"<|endoftext|>", *(bytes([byte]) for byte in range(256))]
    lines = [base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)]
    wide = tmp_path / "wide.tiktoken"
    wide.write_bytes(b"".join(lines) + base64.b64encode(b"low") + b" 65536\n")
    with pytest.raises(InputError, match="65536 do not fit into 16 bits"):
        open_run(request_for(home, tmp_path, tokenizer=str(wide), dtype="uint16", format_name="bin"))
    assert open_run(request_for(home, tmp_path, tokenizer=str(wide), format_name="bin")).config.dtype == "uint32"
    assert open_run(request_for(home, tmp_path, format_name="bin")).config.dtype == "uint16"


def test_the_plan_tells_tokens_disk_and_partitions_and_writes_nothing(
    home: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    tokens = open_run(request_for(home, tmp_path))
    text = "\n".join(estimate_lines(tokens, Execution(cpus=2)))
    assert "4 shards" in text
    assert "1 partitions" in text
    assert "disk:" in text
    count = int(text.partition("about ")[2].partition(" by")[0].replace(",", ""))
    real = sum(map(len, source_documents(home, NAMES, PAGES)))
    assert real / 3 < count < real * 3
    assert not (tmp_path / "run").exists()


def test_mirrors_and_prefixes_lead_to_the_data(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    reference = tmp_path / "ref.json"
    mirrors = {"near": {"dataset_url": "moved/pages"}}
    reference.write_text(json.dumps({"name": "r", "uuid": "u", "dataset_url": "s3://far/pages/", "mirrors": mirrors}))
    request = request_for(
        home, tmp_path, inputs=(), references=(str(reference),), mirror="near", prefix_replacement=("moved", str(home))
    )
    assert len(open_run(request).run.plan.inputs) == 4
    with pytest.raises(InputError, match="no mirror 'other'"):
        open_run(request_for(home, tmp_path, inputs=(), references=(str(reference),), mirror="other"))
