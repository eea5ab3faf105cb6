"""`corpusmith tokenize` on Ray, end to end: bytes, resume, refusals, manifest and reference."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from corpusmith.errors import ChangedError, InputError
from corpusmith.expdb.references import load_dataset
from corpusmith.io.pages.shards import SHARD_SUFFIXES, open_shard_writer
from corpusmith.io.tokens import wds
from corpusmith.run.ray.execution import Execution
from corpusmith.run.run import RunOptions, RunResult
from corpusmith.text.packing import pack
from corpusmith.text.tokenizers.load import load_tokenizer
from ray_processing.tokenize_shuffle import build_parser, main
from ray_processing.tokens.outcome import finish_tokens, report_lines
from ray_processing.tokens.request import TokenRequest, choose_shards
from ray_processing.tokens.stages import open_run
from ray_processing.tokens.train_tokenizer import TokenizerTraining, train_tokenizer
from tests.ray_processing.tokens import tokenizing

PAGES = [[f"page {page} of shard {shard}: " + "word " * (page % 13) for page in range(60)] for shard in range(4)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with pages and a tokenizer."""
    root = tmp_path_factory.mktemp("home")
    for shard, texts in enumerate(PAGES):
        with open_shard_writer(str(root / "pages" / f"s{shard}.jsonl.zst")) as writer:
            for text in texts:
                writer.write({"text": text})
    with open_shard_writer(str(root / "pages" / "s4.jsonl")) as writer:
        writer.write({"text": 7})
    (root / "tokenizer.json").write_bytes(train_tokenizer(str(root / "pages"), TokenizerTraining(vocab_size=300))[0])
    return root


def request_for(home: pathlib.Path, output: pathlib.Path) -> TokenRequest:
    return TokenRequest(
        inputs=(str(home / "pages"),),
        references=(),
        output=str(output / "tokens"),
        name="toy",
        exp_data_dir=str(output / "exp_data"),
        tokenizer=str(home / "tokenizer.json"),
        content_key="text",
        seqlen=15,
        shard_sequences=40,
        seed=0,
        subset=None,
        shuffle=True,
        suffixes=(".jsonl", ".jsonl.zst"),
        overwrite=False,
    )


def execute(request: TokenRequest, cpus: int) -> RunResult:
    tokens = open_run(request)
    result = tokens.run.execute(Execution(cpus=cpus), RunOptions(overwrite=request.overwrite))
    finish_tokens(tokens, result)
    return result


def files(output: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((output / "tokens").iterdir())}


def expected_sequences(home: pathlib.Path) -> list[list[int]]:
    tokenizer = load_tokenizer(str(home / "tokenizer.json"))
    found = []
    for texts in PAGES:
        documents = tokenizer.encode_batch(texts)
        sequences = pack(documents, sequence_length=16, eot_id=0, pad_id=1)
        found += [sequence.tolist() for sequence in sequences]
    return found


@pytest.mark.ray
@pytest.mark.usefixtures("runner")
@pytest.mark.slow
def test_a_run_equals_itself_on_one_cpu_and_after_it_was_damaged(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    request = request_for(home, tmp_path / "two")
    execute(request, cpus=2)
    first = files(tmp_path / "two")
    execute(request_for(home, tmp_path / "one"), cpus=1)
    assert files(tmp_path / "one") == first

    entries = wds.read_manifest(str(tmp_path / "two" / "tokens" / "manifest.jsonl"))
    assert sorted(first) == [*(f"{entry.shard}.tar" for entry in entries), "manifest.jsonl"]
    shards = [list(wds.read_wds_shard(str(tmp_path / "two" / "tokens" / f"{entry.shard}.tar"))) for entry in entries]
    assert [len(shard) for shard in shards] == [entry.num_sequences for entry in entries]
    found = [sequence for shard in shards for sequence in shard]
    assert sorted(found) == sorted(expected_sequences(home))

    reference = load_dataset(str(tmp_path / "two" / "exp_data" / "datasets" / "tokenized" / "toy.json"))
    assert reference.num_tokens == 16 * len(found)
    assert reference.size == sum(map(len, first.values()))
    assert (reference.data_key, reference.tokenized, reference.sources) == ("json.gz", True, [])
    assert reference.manifest_url == f"{tmp_path}/two/tokens/manifest.jsonl"

    ledger = json.loads((tmp_path / "two" / "run" / "tokens" / "ledger.json").read_bytes())
    assert (ledger["total"]["read"], ledger["total"]["kept"], ledger["total"]["errored"]) == (241, 240, {"tokenize": 1})

    # half of the records of both stages, one tar and the manifest are lost
    records = sorted((tmp_path / "two" / "run" / "tokens" / "stages").rglob("records/*.json"))
    for path in [*records[::2], tmp_path / "two" / "tokens" / "00000002.tar"]:
        path.unlink()
    (tmp_path / "two" / "tokens" / "manifest.jsonl").unlink()
    assert not execute(request, cpus=2).was_finished
    assert files(tmp_path / "two") == first

    # a finished run starts nothing; its reference is kept
    before = (tmp_path / "two" / "exp_data" / "datasets" / "tokenized" / "toy.json").read_bytes()
    assert execute(request, cpus=2).was_finished
    assert (tmp_path / "two" / "exp_data" / "datasets" / "tokenized" / "toy.json").read_bytes() == before
    assert report_lines(open_run(request), execute(request, cpus=2))[0].startswith("finished before")

    for change, key in [
        ({"seed": 1}, "seed"),
        ({"content_key": "body"}, "content_key"),
        ({"seqlen": 16}, "seqlen"),
        ({"shard_sequences": 41}, "wds_chunk_size"),
        ({"shuffle": False}, "no_shuffle"),
        ({"suffixes": (".jsonl.zst",)}, "s4.jsonl"),
    ]:
        with pytest.raises(ChangedError, match=key):
            execute(replace(request, **change), cpus=2)  # type: ignore[arg-type]


@pytest.mark.ray
@pytest.mark.usefixtures("runner")
@pytest.mark.slow
def test_a_killed_run_is_continued_to_the_same_bytes(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    execute(request_for(home, tmp_path / "whole"), cpus=2)
    flags: dict[str, object] = {
        "input": home / "pages",
        "output": tmp_path / "killed" / "tokens",
        "tokenizer": home / "tokenizer.json",
    }
    flags |= {"readable_name": "toy", "exp-data-dir": tmp_path / "killed" / "exp_data", "seqlen": 15}
    flags |= {"wds_chunk_size": 40, "seed": 0, "num_cpus": 2}
    arguments = [part for flag, value in flags.items() for part in (f"--{flag}", str(value))]
    driver = subprocess.Popen(
        [sys.executable, "-m", "ray_processing.tokenize_shuffle", *arguments],
        stdout=subprocess.DEVNULL,
        cwd=pathlib.Path(__file__).parents[3],
    )
    records = tmp_path / "killed" / "run" / "tokens" / "stages"
    while driver.poll() is None and not list(records.rglob("records/*.json")):
        time.sleep(0.02)
    driver.kill()
    assert driver.wait() in (-signal.SIGKILL, 0)
    execute(replace(request_for(home, tmp_path / "killed"), suffixes=SHARD_SUFFIXES), cpus=2)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


@pytest.mark.ray
@pytest.mark.usefixtures("runner")
@pytest.mark.slow
def test_a_mixture_on_ray_has_the_bytes_of_one_process_also_after_a_kill(
    home: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    mixture = tmp_path / "mix.yaml"
    mixture.write_text(
        "sources:\n  - {source: a, tokens: 5000, markers: [s0, s4]}\n  - {source: b, repeat: 1.5, markers: [s]}\n"
    )
    changes = {"mixture_yaml": str(mixture), "format_name": "mds", "with_source": True}
    alone = replace(request_for(home, tmp_path / "alone"), **changes)  # type: ignore[arg-type]
    tokenizing.execute(alone)
    request = replace(request_for(home, tmp_path / "ray"), **changes)  # type: ignore[arg-type]
    execute(request, cpus=2)
    assert files(tmp_path / "ray") == files(tmp_path / "alone")
    records = sorted((tmp_path / "ray" / "run" / "tokens" / "stages").rglob("records/*.json"))
    for path in records[1::2]:
        path.unlink()
    (tmp_path / "ray" / "tokens" / "index.json").unlink()
    assert not execute(request, cpus=2).was_finished
    assert files(tmp_path / "ray") == files(tmp_path / "alone")
    mixture.write_text(mixture.read_text().replace("5000", "5001"))
    with pytest.raises(ChangedError, match="mixture"):
        execute(request, cpus=2)


def test_a_changed_tokenizer_is_named(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    tokens = open_run(request_for(home, tmp_path))
    stored = json.loads(json.dumps(tokens.run._document()))
    plan = tmp_path / "run" / "tokens" / "plan.json"
    plan.parent.mkdir(parents=True)
    stored["stages"][0]["tokenizer"] = "xxh3_128:0"
    plan.write_text(json.dumps(stored))
    with pytest.raises(ChangedError, match="tokenizer"):
        tokens.run.execute(Execution(cpus=1), RunOptions())


def test_shards_of_several_folders_have_names_of_their_own(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "s0.jsonl").write_text("{}\n")
    shards = choose_shards([str(home / "pages"), str(tmp_path / "pages")], (".jsonl",), None, 0)
    assert [shard.name for shard in shards] == ["00-pages/s4.jsonl", "01-pages/s0.jsonl"]


def test_a_subset_is_drawn_by_the_seed(home: pathlib.Path) -> None:
    subsets = set()
    for seed in range(20):
        names = tuple(shard.name for shard in choose_shards([str(home / "pages")], (".jsonl.zst",), 2, seed))
        assert names == tuple(shard.name for shard in choose_shards([str(home / "pages")], (".jsonl.zst",), 2, seed))
        assert len(names) == 2
        subsets.add(names)
    assert len(subsets) > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": ()}, "--input"),
        ({"inputs": ("nowhere",)}, "no such folder"),
        ({"tokenizer": "nowhere.json"}, "nowhere.json"),
        ({"suffixes": (".tar.gz",)}, "--suffixes"),
        ({"suffixes": (".jsonl.gz",)}, "jsonl.gz"),
        ({"subset": 0}, "--subset"),
        ({"seqlen": 0}, "--seqlen"),
        ({"shard_sequences": 0}, "--wds_chunk_size"),
        ({"name": "a/b"}, "a/b"),
    ],
)
def test_a_request_that_cannot_be_is_refused(
    home: pathlib.Path, tmp_path: pathlib.Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_run(replace(request_for(home, tmp_path), **change))  # type: ignore[arg-type]


def test_output_and_input_may_not_lie_in_each_other(home: pathlib.Path) -> None:
    with pytest.raises(InputError, match="lie in each other"):
        open_run(replace(request_for(home, home), output=str(home / "pages" / "tokens")))


def test_a_name_that_other_data_bears_is_refused(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "exp_data" / "datasets" / "tokenized" / "toy.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"name": "toy", "dataset_url": "elsewhere/"}')
    with pytest.raises(InputError, match="elsewhere"):
        open_run(request_for(home, tmp_path))


def test_the_users_mistake_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", "o", "--readable_name", "n", "--tokenizer", "nowhere.json", "--input", "nowhere"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_seed_0_is_a_seed() -> None:
    arguments = build_parser().parse_args(["--output", "o", "--readable_name", "n", "--seed", "0"])
    assert arguments.seed == 0
    assert build_parser().parse_args(["--output", "o", "--readable_name", "n"]).seed == 42


def test_dclms_flags_are_there() -> None:
    flags = {flag for action in build_parser()._actions for flag in action.option_strings}
    dclm = (
        "input output content_key seqlen tokenizer wds_chunk_size seed subset ray_address no_shuffle "
        "ray_spill_location suffixes source_ref_paths readable_name overwrite force_parallelism do_sample "
        "default_dataset_yaml num_writers_per_node mirror prefix_replacement"
    )
    assert {f"--{name}" for name in dclm.split()} <= flags


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, ray_processing.tokenize_shuffle as t, ray_processing.tokens.train_tokenizer as u\n"
        "t.build_parser().format_help(); u.build_parser().format_help()\n"
        "print(sorted(sys.modules.keys() & {'ray', 'torch', 'numba', 'pyarrow', 'numpy', 'tokenizers', 'tiktoken'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
