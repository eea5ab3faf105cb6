"""Remote sync: what changed is copied, weights last, whole or not at all; a failure is made good or told."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from corpusmith.errors import RunFailed
from training.observers.remote_sync import RemoteSync, copy_file, fetch_latest, sync_tree


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    folder = tmp_path / "logs" / "run"
    for name in ("params.txt", "checkpoints/epoch_1.pt", "checkpoints/stats_1.pt", "checkpoints/optimizer_1.pt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_only_what_is_new_or_changed_is_copied_and_nothing_is_deleted_there(experiment: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    copied: dict[str, Any] = {}
    assert sync_tree(str(experiment), str(remote), copied) == 4
    assert names(remote) == names(experiment)
    assert sync_tree(str(experiment), str(remote), copied) == 0
    (experiment / "params.txt").write_text("changed")
    (experiment / "checkpoints" / "epoch_1.pt").unlink()
    (experiment / "checkpoints" / ".partial-epoch_2.pt").write_text("half")
    assert sync_tree(str(experiment), str(remote), copied) == 1
    assert (remote / "params.txt").read_text() == "changed"
    assert (remote / "checkpoints" / "epoch_1.pt").exists()
    assert ".partial" not in " ".join(names(remote))


def test_weights_are_copied_last(experiment: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    remote.mkdir()
    (remote / "checkpoints").mkdir()
    (remote / "checkpoints" / "stats_1.pt").mkdir()  # a folder in the way of a file
    with pytest.raises(Exception, match="stats_1"):
        sync_tree(str(experiment), str(remote), {})
    assert not (remote / "checkpoints" / "epoch_1.pt").exists()
    assert (remote / "checkpoints" / "optimizer_1.pt").exists()


def test_copying_keeps_the_bytes(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(bytes(range(256)) * 70000)
    copy_file(str(source), str(tmp_path / "deep" / "b"))
    assert (tmp_path / "deep" / "b").read_bytes() == source.read_bytes()


def test_the_end_of_the_block_brings_the_remote_up_to_date(experiment: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    with RemoteSync(str(experiment), str(remote), seconds=3600):
        (experiment / "train_log.jsonl").write_text("{}\n")
    assert names(remote) == names(experiment)


def test_soon_copies_without_waiting_for_the_turn(experiment: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    with RemoteSync(str(experiment), str(remote), seconds=3600) as sync:
        sync.soon()
        for _ in range(200):
            if (remote / "checkpoints" / "epoch_1.pt").exists():
                break
            threading.Event().wait(0.02)
        assert (remote / "checkpoints" / "epoch_1.pt").exists()


def test_a_last_pass_that_fails_is_told_but_does_not_hide_the_runs_own_error(experiment: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(RunFailed, match="last sync"), RemoteSync(str(experiment), str(blocked), seconds=3600):
        pass
    with pytest.raises(KeyboardInterrupt), RemoteSync(str(experiment), str(blocked), seconds=3600):
        raise KeyboardInterrupt


def test_a_passing_fault_is_told_once_and_made_good(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = tmp_path / "remote"
    remote.write_text("in the way")
    with RemoteSync(str(experiment), str(remote), seconds=0.01):
        threading.Event().wait(0.3)
        remote.unlink()
    assert names(remote) == names(experiment)
    assert capsys.readouterr().out.count("warning: sync") == 1


def test_a_run_that_goes_on_elsewhere_fetches_the_newest_checkpoint(experiment: Path, tmp_path: Path) -> None:
    remote, here = tmp_path / "remote", tmp_path / "elsewhere"
    (experiment / "checkpoints_rolling").mkdir()
    (experiment / "checkpoints_rolling" / "epoch_40.pt").write_text("40")
    (experiment / "checkpoints_diverged").mkdir()
    (experiment / "checkpoints_diverged" / "epoch_12.pt").write_text("diverged")
    for name in ("epoch_12.pt", "stats_12.pt", "optimizer_12.pt", "poly_8_1_12.pt", "results.jsonl"):
        (experiment / "checkpoints" / name).write_text(name)
    (experiment / "train_log.jsonl").write_text("{}\n")
    assert fetch_latest(str(remote), str(here)) is None
    sync_tree(str(experiment), str(remote), {})
    assert fetch_latest(str(remote), str(here)) == str(here / "checkpoints" / "epoch_12.pt")
    assert names(here) == [
        "checkpoints/epoch_12.pt", "checkpoints/optimizer_12.pt", "checkpoints/poly_8_1_12.pt",
        "checkpoints/results.jsonl", "checkpoints/stats_12.pt", "checkpoints_rolling/epoch_40.pt", "params.txt",
        "train_log.jsonl",
    ]  # fmt: skip
    (here / "checkpoints" / "epoch_13.pt").write_text("further")
    assert fetch_latest(str(remote), str(here)) == str(here / "checkpoints" / "epoch_13.pt")
