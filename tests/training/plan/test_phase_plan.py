"""Phase plans in YAML: what is read, and what is refused with file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corpusmith.errors import ConfigError, InputError
from training.optimization.schedule import constant_schedule
from training.plan.phase_plan import DataSource, Phase, load_phase_plan

PLAN = """\
phases:
  - name: stable
    tokens: 20e3
    global_batch_size: 8
    data:
      - {url: a/manifest.jsonl, weight: 0.7}
      - {url: b/manifest.jsonl, weight: 0.3, domain: code}
    learning_rate:
      - {kind: warmup, steps: 20, first: 0, last: 3e-3}
      - {kind: constant, first: 3e-3, last: 3e-3}
  - name: decay
    steps: 50
    global_batch_size: 4
    seq_len: 64
    data: [{url: c/index.json}]
    learning_rate: [{kind: 1-sqrt, first: 3e-3, last: 3e-5}]
    domain_weights: {code: 0.5}
    checkpoints: 2
"""


def load(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return load_phase_plan(str(path), 16)


def test_a_plan_says_where_each_step_stands(tmp_path: Path) -> None:
    plan = load(tmp_path, PLAN)
    stable, decay = plan.phases
    assert (stable.steps, decay.steps, plan.total_steps) == (156, 50, 206)  # 20,000 // (8 * 16)
    assert [segment.steps for segment in stable.schedule] == [20, 136]
    assert stable.data[1] == DataSource(url="b/manifest.jsonl", weight=0.3, domain="code")
    assert [plan.locate(step) for step in (0, 155, 156, 205, 206)] == [(0, 0), (0, 0), (1, 156), (1, 156), (1, 156)]
    assert plan.rate(9) == pytest.approx(1.5e-3)
    assert plan.rate(156) == pytest.approx(3e-3)
    assert plan.rate(206) == pytest.approx(3e-5)
    assert decay.checkpoint_steps() == [25, 50]
    assert decay.domain_weights == {"code": 0.5}


@pytest.mark.parametrize(
    ("old", "new", "where", "named"),
    [
        ("    steps: 50", "    stpes: 50", ":12", "did you mean 'steps'"),
        ("    steps: 50\n", "", ":11", "needs a length"),
        ("kind: 1-sqrt", "kind: 1-sqr", ":11", "1-sqrt"),
        ("weight: 0.3", "weight: 0", ":7", "above 0"),
        ("steps: 20,", "steps: 200,", ":8", "fill the phase's 156 steps"),
        ("tokens: 20e3", "tokens: many", ":3", "must be a number"),
        ("    checkpoints: 2", "    objective: mlm", ":11", "unknown objective 'mlm'"),
        ("phases:", "phase:", ":1", "'phases'"),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(tmp_path: Path, old: str, new: str, where: str, named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, PLAN.replace(old, new, 1))
    assert f"plan.yaml{where}" in str(refused.value)
    assert named in str(refused.value)


def test_a_phase_refuses_nonsense_when_it_is_made() -> None:
    with pytest.raises(InputError, match="at least 1 step"):
        Phase(name="x", data=(), steps=1, global_batch_size=1, schedule=constant_schedule(peak=1.0, warmup=0, total=1))
