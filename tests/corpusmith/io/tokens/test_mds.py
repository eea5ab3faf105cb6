"""MDS: the bytes of the library that defines the format, refusals, damage, the index of many folders."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import subprocess
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmith.errors import InputError, ShardError
from corpusmith.io.tokens import mds

ROOT = pathlib.Path(__file__).resolve().parents[4]
PEER = ROOT / ".peers" / "streaming" / "bin" / "python"
needs_streaming = pytest.mark.skipif(
    not PEER.exists(), reason="no environment of mosaicml-streaming; `bash tools/peers.sh streaming` makes it"
)
COLUMNS = {"id": "str", "input_ids": "ndarray:uint16", "epoch": "int"}


def sample(name: str, tokens: list[int], epoch: int = 0) -> dict[str, Any]:
    return {"id": name, "input_ids": np.array(tokens, dtype=np.uint16), "epoch": epoch}


def read_all(folder: pathlib.Path) -> list[dict[str, Any]]:
    return [found for shard in mds.read_index(str(folder)) for found in mds.MdsReader(shard).samples()]


def test_the_golden_sample_comes_out_to_the_byte(tmp_path: pathlib.Path) -> None:
    samples = [sample("a/0", [1, 2, 3]), sample("b", list(range(300)), -1)]
    assert mds.write_dataset(str(tmp_path), mds.MdsLayout(columns=COLUMNS), samples) == 2
    shard = (tmp_path / "shard.00000.mds").read_bytes()
    index = (tmp_path / "index.json").read_bytes()
    assert (len(shard), len(index)) == (886, 356)
    assert hashlib.sha256(shard).hexdigest() == "8f9cfde851dd33dd144704b965f5797deb95f5858f6d45080825fa6c2ac49bd9"
    assert hashlib.sha256(index).hexdigest() == "ea1825f0752fd31f9f5fae294a2f33d7eb8378ace4e51f0f106f6a0c21ff59c3"
    assert shard[:16].hex(" ", 4) == "02000000 ef000000 0a010000 76030000"
    assert shard[239:].startswith(bytes.fromhex("0300000008000000" + "00" * 8 + "612f30" + "0403" + "010002000300"))


values = st.fixed_dictionaries(
    {
        "text": st.text(st.characters(exclude_categories=["Cs"])),
        "raw": st.binary(max_size=9),
        "number": st.integers(-(2**63), 2**63 - 1),
        "small": st.integers(0, 255),
        "exact": st.decimals(allow_nan=False, allow_infinity=False),
        "big": st.integers(),
        "tree": st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5),
        "free": st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=5),
        "pair": st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1)),
    }
)
ALL_COLUMNS = {
    "text": "str", "raw": "bytes", "number": "int", "small": "uint8", "exact": "str_decimal", "big": "str_int",
    "tree": "json", "free": "ndarray", "pair": "ndarray:int32:2",
}  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.lists(values, min_size=1, max_size=4))
def test_every_admitted_encoding_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("mds")
    samples = [
        row | {"free": np.array(row["free"], dtype=np.float32), "pair": np.array(row["pair"], dtype=np.int32)}
        for row in rows
    ]
    mds.write_dataset(str(folder), mds.MdsLayout(columns=ALL_COLUMNS, size_limit=500), samples)
    found = read_all(folder)
    assert len(found) == len(rows)
    for row, back in zip(rows, found, strict=True):
        assert back["free"].tolist() == row["free"]
        assert back["pair"].tolist() == list(row["pair"])
        for name in ("text", "raw", "number", "small", "big", "tree"):
            assert back[name] == row[name]
        assert back["exact"] == Decimal(row["exact"])


@pytest.mark.parametrize("compression", [None, "zstd", "zstd:7", "gz", "bz2:1"])
def test_shards_roll_over_at_the_limit_and_hashes_hold(tmp_path: pathlib.Path, compression: str | None) -> None:
    layout = mds.MdsLayout(columns=COLUMNS, compression=compression, hashes=("xxh3_64", "sha256"), size_limit=2000)
    mds.write_dataset(str(tmp_path), layout, (sample(f"é{n}", [n] * 100) for n in range(1, 40)))
    shards = mds.read_index(str(tmp_path))
    # 234 bytes each with the offset, so at most 7 fit beside the header
    assert [shard.samples for shard in shards] == [7, 7, 7, 7, 7, 4]
    assert all(shard.raw_bytes <= 2000 for shard in shards)
    assert mds.verify(str(tmp_path)) == 39
    assert [row["id"] for row in read_all(tmp_path)] == [f"é{n}" for n in range(1, 40)]
    suffix = "" if compression is None else f".{compression.partition(':')[0]}"
    assert (tmp_path / f"shard.00005.mds{suffix}").exists()


def test_a_raw_shard_is_read_where_the_index_names_a_compressed_one(tmp_path: pathlib.Path) -> None:
    mds.write_dataset(str(tmp_path), mds.MdsLayout(columns=COLUMNS, compression="zstd"), [sample("a", [5])])
    raw = mds._raw_image(mds.read_index(str(tmp_path))[0])
    (tmp_path / "shard.00000.mds.zstd").unlink()
    (tmp_path / "shard.00000.mds").write_bytes(raw)
    assert [row["id"] for row in read_all(tmp_path)] == ["a"]


@pytest.mark.parametrize("encoding", ["pkl", "jpeg", "ndarray:object", "ndarray:uint8:0", "list[pil]", "pickle", ""])
def test_encodings_that_run_code_or_are_unknown_are_refused_by_writer_and_reader(
    tmp_path: pathlib.Path, encoding: str
) -> None:
    with pytest.raises(InputError, match="column 'x'"):
        mds.MdsLayout(columns={"x": encoding})
    mds.write_dataset(str(tmp_path), mds.MdsLayout(columns={"x": "bytes"}), [{"x": b"cos\nsystem\n"}])
    index = tmp_path / "index.json"
    index.write_text(index.read_text().replace('"bytes"]', json.dumps(encoding) + "]"))
    with pytest.raises(InputError, match="column 'x'"):
        mds.read_index(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 7}, "'str' does not take int"),
        ({"epoch": np.int64(3)}, "'int' does not take int64"),
        ({"epoch": True}, "'int' does not take bool"),
        ({"input_ids": [1, 2]}, "does not take list"),
        ({"input_ids": np.array([1], dtype=np.int32)}, "array of int32"),
        ({"input_ids": np.array([], dtype=np.uint16)}, "shape"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_no_index_appears(
    tmp_path: pathlib.Path, change: dict[str, Any], message: str
) -> None:
    samples = [sample("a", [1]), sample("b", [2]) | change]
    with pytest.raises(InputError, match=message):
        mds.write_dataset(str(tmp_path), mds.MdsLayout(columns=COLUMNS, size_limit=300), samples)
    assert not (tmp_path / "index.json").exists()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damage_is_a_shard_error_and_never_another(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    mds.write_dataset(str(folder), mds.MdsLayout(columns=ALL_COLUMNS | COLUMNS), [
        {"text": "t", "raw": b"r", "number": 1, "small": 2, "exact": Decimal("1.5"), "big": 9, "tree": [1],
         "free": np.ones(2), "pair": np.ones(2, dtype=np.int32), **sample("a", [1, 2])}
    ])  # fmt: skip
    path = folder / "shard.00000.mds"
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with contextlib.suppress(ShardError):
        read_all(folder)


def test_an_index_over_many_folders_of_any_depth_reads_in_order(tmp_path: pathlib.Path) -> None:
    for name in ("b", "a/deep/er", "c"):
        mds.write_dataset(str(tmp_path / name), mds.MdsLayout(columns=COLUMNS), [sample(name, [1]), sample("x", [2])])
    (tmp_path / "a" / "stats.json").write_text("{}")
    assert mds.merge_index(str(tmp_path)) == 3
    assert mds.merge_index(str(tmp_path)) == 3  # its own result is not counted in
    assert [row["id"] for row in read_all(tmp_path)] == ["a/deep/er", "x", "b", "x", "c", "x"]
    with pytest.raises(InputError, match=r"no index\.json"):
        mds.merge_index(str(tmp_path / "b"))


@pytest.mark.parametrize("basename", ["../outside.mds", "/etc/passwd"])
def test_a_basename_outside_the_folder_is_refused(tmp_path: pathlib.Path, basename: str) -> None:
    mds.write_dataset(str(tmp_path), mds.MdsLayout(columns=COLUMNS), [sample("a", [1])])
    index = json.loads((tmp_path / "index.json").read_text())
    index["shards"][0]["raw_data"]["basename"] = basename
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(Exception, match="would leave"):
        mds.read_index(str(tmp_path))


# --- the library itself, in an environment of its own ------------------------------------------------------------

PEER_CODE = """
import sys, types, importlib.machinery
for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules[name] = module
sys.modules["torchvision.datasets"].VisionDataset = object
sys.modules["torchvision.transforms.functional"].to_tensor = None
sys.modules["torchvision"].datasets = sys.modules["torchvision.datasets"]
import numpy as np
from streaming import LocalDataset, MDSWriter

def samples():
    draws = np.random.default_rng(5)
    for n in range(3000):
        ids = draws.integers(0, 65536, draws.integers(1, 40))
        row = {"id": f"é/{n}", "n": n - 7, "input_ids": ids.astype(np.uint16), "free": ids.astype(np.int64)}
        yield row | {"tree": {"a": [n]}}

mode, folder, compression = sys.argv[1:]
compression = compression or None
COLUMNS = {"id": "str", "n": "int", "input_ids": "ndarray:uint16", "free": "ndarray", "tree": "json"}
if mode == "write":
    kind = dict(out=folder, columns=COLUMNS, compression=compression, hashes=["sha256", "xxh3_64"], size_limit=100_000)
    with MDSWriter(**kind) as out:
        for sample in samples():
            out.write(sample)
else:
    count = 0
    for expected, found in zip(samples(), LocalDataset(folder), strict=True):
        assert all(np.array_equal(expected[key], found[key]) for key in expected), expected["id"]
        count += 1
    assert count == 3000
"""


def peer_samples() -> list[dict[str, Any]]:
    draws = np.random.default_rng(5)
    rows = []
    for n in range(3000):
        ids = draws.integers(0, 65536, draws.integers(1, 40))
        row = {"id": f"é/{n}", "n": n - 7, "input_ids": ids.astype(np.uint16), "free": ids.astype(np.int64)}
        rows.append(row | {"tree": {"a": [n]}})
    return rows


def run_peer(mode: str, folder: pathlib.Path, compression: str) -> None:
    done = subprocess.run(
        [str(PEER), "-c", PEER_CODE, mode, str(folder), compression],
        capture_output=True, text=True, env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


@needs_streaming
@pytest.mark.slow
def test_streaming_writes_the_same_bytes_and_reads_ours(tmp_path: pathlib.Path) -> None:
    columns = {"id": "str", "n": "int", "input_ids": "ndarray:uint16", "free": "ndarray", "tree": "json"}
    layout = mds.MdsLayout(columns=columns, hashes=("sha256", "xxh3_64"), size_limit=100_000)
    mds.write_dataset(str(tmp_path / "ours"), layout, peer_samples())
    run_peer("write", tmp_path / "theirs", "")
    ours = {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()}
    theirs = {path.name: path.read_bytes() for path in (tmp_path / "theirs").iterdir()}
    assert len(ours) > 5
    assert ours == theirs
    run_peer("read", tmp_path / "ours", "")


@needs_streaming
@pytest.mark.slow
def test_we_read_what_streaming_compressed(tmp_path: pathlib.Path) -> None:
    run_peer("write", tmp_path, "zstd")
    assert mds.verify(str(tmp_path)) == 3000
    for expected, found in zip(peer_samples(), read_all(tmp_path), strict=True):
        assert all(np.array_equal(expected[key], found[key]) for key in expected)
