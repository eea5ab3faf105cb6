"""Steps, epochs, resume and several ranks, on a model that trains in a second."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from corpusmith.errors import ChangedError, InputError, RunFailed
from corpusmith.io.tokens import wds
from training.data.batch import Batch
from training.loop.resume import seed_all
from training.loop.train_loop import total_steps, train
from training.optimization.schedule import constant_schedule
from training.optimization.step import TrainingState, apply_gradients, compute_gradients, make_training_state
from training.plan.config import TrainConfig
from training.state.checkpoint import RunProgress, load_file, load_model, load_weights
from training.state.ranks import Ranks

ALONE = Ranks()


def fresh_state(config: TrainConfig, ranks: Ranks) -> TrainingState:
    seed_all(config.seed)
    return make_training_state(config.model, config.step, ranks)


def three_steps(state: TrainingState, chunk: np.ndarray) -> list[float]:
    batch = Batch(x_BT=chunk[:, :-1], y_BT=chunk[:, 1:])
    losses = []
    for rate in (0.01, 0.02, 0.02):
        losses.append(compute_gradients(state, batch).entropy.item())
        apply_gradients(state, rate)
    return losses


def log_rows(config: TrainConfig) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (Path(config.folder) / "train_log.jsonl").read_bytes().splitlines()]


def weights(config: TrainConfig, epoch: int) -> dict[str, torch.Tensor]:
    return load_weights(f"{config.folder}/checkpoints/epoch_{epoch}.pt")


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], atol: float = 0.0) -> None:
    assert set(ours) == set(theirs)
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=0, atol=atol)


def test_a_run_learns_logs_each_step_and_writes_each_checkpoint(make_config: Callable[..., TrainConfig]) -> None:
    config = make_config()
    state = train(config, ALONE)
    assert (state.epoch, state.step, state.samples_seen, state.is_final) == (3, 12, 96, True)
    rows = log_rows(config)
    assert [row["step"] for row in rows] == list(range(12))
    assert {"step", "loss", "lr", "tokens", "tokens_per_second", "gradient_norm", "data_time"} <= set(rows[0])
    assert rows[0]["tokens"] == 8 * 16
    assert rows[0]["lr"] == 0.01
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    assert sorted(path.name for path in (Path(config.folder) / "checkpoints").iterdir()) == sorted(
        f"{kind}_{n}.pt" for kind in ("epoch", "optimizer", "stats") for n in (1, 2, 3)
    )


def test_checkpoints_have_the_keys_of_openlm(make_config: Callable[..., TrainConfig]) -> None:
    config = make_config()
    train(config, ALONE)
    folder = f"{config.folder}/checkpoints"
    position = {"next_shard_per_source", "samples_seen", "step", "shard_shuffle_seed"}
    common = {"epoch", "name", "evaluation_metrics"}
    assert set(load_file(f"{folder}/epoch_2.pt")) == common | position | {"state_dict"}
    assert set(load_file(f"{folder}/optimizer_2.pt")) == common | {"optimizer"}
    stats = load_file(f"{folder}/stats_2.pt")
    assert set(stats) == common | position | {"is_final_checkpoint", "percentage_of_data_seen", "train_data_string"}
    assert (stats["epoch"], stats["step"], stats["samples_seen"], stats["shard_shuffle_seed"]) == (2, 8, 64, 124)
    assert (stats["next_shard_per_source"], stats["is_final_checkpoint"]) == ([8], False)
    assert stats["percentage_of_data_seen"] == 100.0
    assert load_file(f"{folder}/stats_3.pt")["is_final_checkpoint"] is True


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(make_config: Callable[..., TrainConfig]) -> None:
    runs = [make_config("a"), make_config("b"), make_config("c", seed=125)]
    for config in runs:
        train(config, ALONE)
    assert_equal(weights(runs[0], 3), weights(runs[1], 3))
    assert [row["loss"] for row in log_rows(runs[0])] == [row["loss"] for row in log_rows(runs[1])]
    assert not torch.equal(weights(runs[0], 3)["norm.weight"], weights(runs[2], 3)["norm.weight"])


def test_a_killed_run_continues_to_the_weights_and_log_of_an_undisturbed_one(
    make_config: Callable[..., TrainConfig],
) -> None:
    undisturbed, killed = make_config("a"), make_config("b")
    train(undisturbed, ALONE)

    def kill_in_the_third_epoch(model: torch.nn.Module, progress: RunProgress) -> list[dict[str, Any]]:
        if progress.epoch == 3:
            raise KeyboardInterrupt
        return []

    with pytest.raises(KeyboardInterrupt):
        train(killed, ALONE, kill_in_the_third_epoch)
    assert not (Path(killed.folder) / "checkpoints" / "epoch_3.pt").exists()
    train(killed, ALONE)
    assert_equal(weights(undisturbed, 3), weights(killed, 3))
    for one, other in zip(log_rows(undisturbed), log_rows(killed), strict=True):
        for key in ("step", "loss", "lr", "tokens", "gradient_norm"):
            assert one[key] == other[key]


def test_a_checkpoint_without_its_weights_is_not_resumed_from(make_config: Callable[..., TrainConfig]) -> None:
    config = make_config()
    train(config, ALONE)
    (Path(config.folder) / "checkpoints" / "epoch_3.pt").unlink()  # killed between the files of a checkpoint
    again = train(config, ALONE)
    assert again.is_final
    assert [row["step"] for row in log_rows(config)] == list(range(12))


def test_a_finished_run_is_not_trained_again(make_config: Callable[..., TrainConfig]) -> None:
    config = make_config()
    first = train(config, ALONE, lambda model, state: [{"loss": 1.5}])
    before = (Path(config.folder) / "checkpoints" / "epoch_3.pt").stat().st_mtime_ns
    assert train(config, ALONE) == first
    assert first.evaluation == [{"loss": 1.5}]
    assert (Path(config.folder) / "checkpoints" / "epoch_3.pt").stat().st_mtime_ns == before


def test_a_run_with_another_seed_is_not_continued(make_config: Callable[..., TrainConfig]) -> None:
    config = make_config()
    train(config, ALONE)
    with pytest.raises(ChangedError, match="seed is 125"):
        train(replace(config, seed=125), ALONE)


def test_only_the_last_checkpoint_stays_by_default(make_config: Callable[..., TrainConfig]) -> None:
    config = make_config(keep_checkpoints=False)
    train(config, ALONE)
    names = {path.name for path in (Path(config.folder) / "checkpoints").iterdir()}
    assert names == {"epoch_3.pt", "optimizer_3.pt", "stats_3.pt"}


def test_pretrained_weights_start_a_new_run(make_config: Callable[..., TrainConfig]) -> None:
    first = make_config("a")
    train(first, ALONE)
    url = f"{first.folder}/checkpoints/epoch_3.pt"
    second = make_config("b", pretrained=url, schedule=constant_schedule(peak=0.0, warmup=0, total=12))
    assert train(second, ALONE).step == 12
    assert_equal(weights(second, 1), weights(first, 3))


def test_weights_of_another_shape_are_refused_by_the_name_of_their_file(
    make_config: Callable[..., TrainConfig],
) -> None:
    first = make_config("first")
    train(first, ALONE)
    url = f"{first.folder}/checkpoints/epoch_3.pt"
    wide = replace(first.model, hidden_dim=32)
    for changed in ({"pretrained": url}, {"resume": url}, {"average": ((url, 1.0),)}):
        with pytest.raises(InputError, match=r"epoch_3\.pt does not fit the model config: size mismatch"):
            train(make_config("second", model=wide, **changed), ALONE)


def test_micro_batches_give_the_step_of_the_whole_batch(make_config: Callable[..., TrainConfig]) -> None:
    chunk = np.random.default_rng(0).integers(0, 32, (8, 17))
    results = []
    for accumulation in (1, 4):
        state = fresh_state(make_config(accumulation=accumulation), ALONE)
        entropies = three_steps(state, chunk)
        results.append((state.model.state_dict(), entropies))
    assert results[0][1] == pytest.approx(results[1][1], abs=1e-5)
    assert_equal(results[0][0], results[1][0], atol=1e-5)


def test_load_model_gives_the_trained_model_in_eval_mode(make_config: Callable[..., TrainConfig]) -> None:
    config = make_config()
    last: dict[str, torch.nn.Module] = {}

    def remember(model: torch.nn.Module, progress: RunProgress) -> list[dict[str, Any]]:
        last["model"] = model
        return []

    train(config, ALONE, remember)
    loaded = load_model(f"{config.folder}/checkpoints/epoch_3.pt")
    ids = torch.arange(20)[None] % 32
    assert not loaded.training
    assert loaded.config == config.model
    torch.testing.assert_close(loaded(ids)[0], last["model"].eval()(ids)[0], rtol=0, atol=0)


def test_an_epoch_that_lacks_promised_sequences_fails_and_its_checkpoint_is_set_aside(
    make_config: Callable[..., TrainConfig], manifest: str
) -> None:
    entries = [replace(entry, num_sequences=16) for entry in wds.read_manifest(manifest)]
    wds.write_manifest(manifest, entries)  # it promises twice what the shards hold
    config = make_config(order="openlm", sequences_per_epoch=64)
    with pytest.raises(RunFailed, match=r"50\.0 %"):
        train(config, ALONE)
    assert (Path(config.folder) / "checkpoints_failed" / "epoch_1.pt").exists()
    assert not (Path(config.folder) / "checkpoints").exists()


def test_a_short_shard_costs_steps_but_is_no_failure(
    make_config: Callable[..., TrainConfig], tmp_path: Path, manifest: str
) -> None:
    entries = wds.read_manifest(manifest)
    rows = np.array(list(wds.read_wds_shard(str(tmp_path / "tokens" / f"{entries[4].shard}.tar"))), dtype=np.uint32)
    wds.write_wds_shard(str(tmp_path / "tokens" / f"{entries[4].shard}.tar"), rows[:3])
    entries[4] = replace(entries[4], num_sequences=3)
    wds.write_manifest(manifest, entries)
    state = train(make_config(order="openlm", workers=1, global_batch_size=4, multiple_passes=True), ALONE)
    assert state.step == 12


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"accumulation": 3}, "--acc 3"),
        ({"steps": 1000}, "--multiple-data-passes"),
        ({"sequences_per_epoch": 1000, "order": "openlm"}, "--multiple-data-passes"),
        ({"workers": 3, "global_batch_size": 64, "accumulation": 1, "order": "openlm"}, "no full batch of 64"),
        ({"order": "random"}, "unknown order"),
        ({"order": "openlm", "save_every": 2}, "--save-every"),
        ({"log_every": 0}, "--log-every"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(make_config: Callable[..., TrainConfig], changed: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        train(make_config(**changed), ALONE)


def test_arithmetic_of_steps() -> None:
    assert total_steps(803938, 5, 512) == 7850
    with pytest.raises(InputError, match="no step"):
        total_steps(3, 2, 7)
