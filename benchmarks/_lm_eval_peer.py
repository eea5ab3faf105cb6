"""lm-evaluation-harness on local task files, run in its own environment: seconds and log-likelihoods as JSON.

usage: python _lm_eval_peer.py MODEL_FOLDER OUTPUT.json TYPE:BATCH_SIZE:FILE.jsonl ...

The time is that of the harness's own `loglikelihood` (its tokenization included), not of building tasks.
"""

import json
import pathlib
import sys
import time
from typing import Any

import lm_eval
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM


def task_config(kind: str, path: str) -> dict[str, Any]:
    """A task of the harness over a local file."""
    config: dict[str, Any] = {
        "task": pathlib.Path(path).stem,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": path}},
        "test_split": "test",
        "num_fewshot": 0,
        "target_delimiter": " ",
        "metric_list": [{"metric": "acc"}],
    }
    if kind == "multiple_choice":
        return config | {
            "output_type": "multiple_choice",
            "doc_to_text": "{{query}}",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "gold",
        }
    return config | {
        "output_type": "loglikelihood",
        "doc_to_text": "{{context}}",
        "doc_to_target": " {{continuation}}",  # this type of request gets no delimiter
    }


class Timed(HFLM):  # type: ignore[misc]  # the package has no types
    """A model that adds up the CPU seconds of its log-likelihoods."""

    seconds = 0.0

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Any]:
        started = time.process_time()
        found: list[Any] = super().loglikelihood(requests, disable_tqdm=True)
        self.seconds += time.process_time() - started
        return found


def run(model: Timed, kind: str, path: str) -> list[dict[str, Any]]:
    """The samples of a task, in the order of its rows."""
    found = lm_eval.simple_evaluate(
        model=model, tasks=[task_config(kind, path)], bootstrap_iters=0, log_samples=True, confirm_run_unsafe_code=False
    )
    return sorted(found["samples"][pathlib.Path(path).stem], key=lambda sample: sample["doc_id"])


def main() -> None:
    """Score each task and write what came out."""
    folder, output, *entries = sys.argv[1:]
    torch.set_num_threads(1)
    model = Timed(pretrained=folder, device="cpu", dtype="float32", batch_size=1)
    rows = {}
    model.loglikelihood([Instance("loglikelihood", {}, ("To warm", " up"), 0)])
    for entry in entries:
        kind, batch_size, path = entry.split(":", 2)
        model.batch_size_per_gpu = int(batch_size)
        model.seconds = 0.0
        samples = run(model, kind, path)
        rows[path] = {
            "seconds": model.seconds,
            "loglikelihoods": [[float(resp[0][0]) for resp in sample["resps"]] for sample in samples],
        }
    pathlib.Path(output).write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
