"""Validation: loss by domain, limits, bootstrap intervals, the record of `results.jsonl`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from corpusmith.io.tokens import wds
from corpusmith.io.tokens.rows import TokenRows
from training.data.batch import BatchSpec
from training.data.token_shards import TokenDataset, find_token_dataset
from training.loop.validation import Intervals, bootstrap_interval, result_object, validation_loss
from training.loop.validator import Validator
from training.state.checkpoint import RunProgress
from training.state.ranks import Ranks

ALONE = Ranks()


class Table(torch.nn.Module):
    """Logits of the next id from a table by the present one."""

    def __init__(self, logits_VV: torch.Tensor) -> None:
        super().__init__()
        self.logits_VV = logits_VV

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return self.logits_VV[ids], None, None


@pytest.fixture
def shards(tmp_path: Path) -> TokenDataset:
    """Six sequences of four ids: of domain `sure` (0 follows 0) and `even` (1 then 2, alternating)."""
    rows = [[0, 0, 0, 0]] * 4 + [[1, 2, 1, 2]] * 2
    metas = [{"source": "sure", "pages": []}] * 4 + [{"source": "even", "pages": []}] * 2
    wds.write_wds_shard(str(tmp_path / "00000001.tar"), TokenRows.of(rows, metas=metas))
    wds.write_manifest(str(tmp_path / "manifest.jsonl"), [wds.ManifestEntry(shard="00000001", num_sequences=6)])
    return find_token_dataset(str(tmp_path / "manifest.jsonl"))


@pytest.fixture
def model() -> Table:
    """Sure of what follows 0; after 1 and 2 all three ids are as likely."""
    logits = torch.zeros(3, 3)
    logits[0] = torch.tensor([50.0, 0.0, 0.0])
    return Table(logits)


def spec(batch_size: int = 4) -> BatchSpec:
    return BatchSpec(seq_len=3, vocab_size=3, batch_size=batch_size)


def test_loss_is_found_by_domain_and_weighted_by_sequences(shards: TokenDataset, model: Table) -> None:
    found = validation_loss(model, shards, spec(), precision="fp32", ranks=ALONE, intervals=Intervals(sequences=True))
    assert found.by_domain == pytest.approx({"even": math.log(3), "sure": 0.0}, abs=1e-6)
    assert found.loss == pytest.approx(math.log(3) * 2 / 6)
    assert (found.sequences, found.tokens, found.batches) == (6, 18, 2)
    assert sorted(found.sequence_losses) == pytest.approx([0.0] * 4 + [math.log(3)] * 2, abs=1e-6)
    record = result_object(found, shards, model="table", ranks=ALONE, train_tokens=None)
    assert record["loss_by_domain"].keys() == {"even", "sure"}
    assert record["loss_sequences_lower_95"] == -1.0
    assert "train_tokens" not in record


def test_a_limit_is_rounded_up_to_whole_batches(shards: TokenDataset, model: Table) -> None:
    found = validation_loss(model, shards, spec(2), precision="fp32", ranks=ALONE, num_sequences=3)
    assert found.sequences == 4


def test_intervals_hold_the_mean_and_shrink_with_the_population() -> None:
    values = np.random.default_rng(0).exponential(size=1000)
    wide = bootstrap_interval(values, Intervals(resamples=400, max_population=100))
    narrow = bootstrap_interval(values, Intervals(resamples=400))
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]
    # the standard error of a mean of n is sigma / sqrt(n): 95 % lie within 1.96 of it on either side
    assert narrow[1] - narrow[0] == pytest.approx(2 * 1.96 * values.std() / math.sqrt(1000), rel=0.15)
    assert bootstrap_interval(np.full(10, 2.5), Intervals(resamples=50)) == (2.5, 2.5)


def test_validation_is_due_every_so_many_epochs_and_at_the_end(
    shards: TokenDataset, model: Table, tmp_path: Path
) -> None:
    validator = Validator(
        sets=[shards, shards], spec=spec(), ranks=ALONE, folder=str(tmp_path / "run"), model_name="table",
        precision="fp32", frequency=2, training=[shards], train_tokens_per_epoch=100,
    )  # fmt: skip
    assert validator(model, RunProgress(epoch=1)) == []
    assert [result["train_tokens"] for result in validator(model, RunProgress(epoch=2))] == [200, 200]
    assert len(validator(model, RunProgress(epoch=3, is_final=True))) == 2
    lines = (tmp_path / "run" / "checkpoints" / "results.jsonl").read_text().splitlines()
    assert [len(json.loads(line)) for line in lines] == [2, 2]
    assert json.loads(lines[0])[0]["unigram_loss"] > 0
