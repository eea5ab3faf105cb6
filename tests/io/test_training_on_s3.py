"""Experiments on an object store: synced while they train, and begun again from there."""

from __future__ import annotations

from corpusmith.io import storage
from training.remote_sync import RemoteSync, fetch_latest

REMOTE = "s3://corpus/runs/run"


def test_an_experiment_is_synced_to_an_object_store_and_fetched_back(s3, tmp_path):
    folder = tmp_path / "logs" / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "params.txt").write_text("name: run")
    with RemoteSync(str(folder), REMOTE, seconds=3600):
        (folder / "checkpoints" / "epoch_2.pt").write_text("two")
    assert storage.read_bytes(f"{REMOTE}/checkpoints/epoch_2.pt") == b"two"
    there = str(tmp_path / "elsewhere")
    assert fetch_latest(REMOTE, there) == f"{there}/checkpoints/epoch_2.pt"
    assert storage.read_bytes(f"{there}/params.txt") == b"name: run"
