"""Loss curves: what is read of a run, smoothing by hand, a picture that is one."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest

from corpusmith.errors import InputError
from training.observers.loss_plot import main, plot_run, read_curve, smoothed


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    rows = [{"step": step, "loss": 5.0 - step / 10, "tokens": (step + 1) * 100} for step in range(20)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train_log.jsonl").write_text(lines + '{"step": 20, "lo')
    results = [{"loss": 4.5, "train_tokens": 1000, "val_data": ["held/manifest.jsonl"]}]
    results.append({"loss": 4.0, "train_tokens": 1000, "val_data": ["c4_val.json"]})
    (folder / "checkpoints" / "results.jsonl").write_text(json.dumps(results) + "\n")
    return folder


def png_size(content: bytes) -> tuple[int, int]:
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", content[16:24])


def test_a_curve_has_the_logged_steps_and_the_validation_sets_by_name(run_folder: Path) -> None:
    curve = read_curve(str(run_folder))
    assert curve.name == "run"
    assert curve.tokens[:2] == [100, 200]
    assert (len(curve.losses), curve.losses[0]) == (20, 5.0)
    assert curve.validation == {"held": [(1000, 4.5)], "c4_val": [(1000, 4.0)]}


def test_smoothing_by_hand() -> None:
    # a quarter of the curve at a time: keep 0.5 of what was; bias-corrected, a missing loss changes nothing
    assert smoothed([4.0, 2.0, math.nan, 1.0], points=2) == pytest.approx([4.0, 8 / 3, 8 / 3, 12 / 7])
    assert smoothed([3.0], points=40) == [3.0]
    assert smoothed([]) == []


def test_a_run_gets_its_own_picture(run_folder: Path) -> None:
    url = plot_run(str(run_folder))
    assert url == str(run_folder / "loss.png")
    assert png_size((run_folder / "loss.png").read_bytes()) == (960, 600)


def test_several_runs_are_compared_and_a_folder_without_a_log_is_refused(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "both.png"
    assert main([str(run_folder), str(run_folder), "--output", str(output)]) == 0
    assert png_size(output.read_bytes()) == (960, 600)
    assert main([str(tmp_path / "none"), "--output", str(output)]) == 2
    assert "train_log.jsonl" in capsys.readouterr().err
    (run_folder / "train_log.jsonl").write_text("")
    with pytest.raises(InputError, match="no logged step"):
        read_curve(str(run_folder))
