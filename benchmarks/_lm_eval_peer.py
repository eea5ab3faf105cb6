"""lm-evaluation-harness on local task files, run in its own environment: seconds and log-likelihoods as JSON.

usage: python _lm_eval_peer.py MODEL_FOLDER OUTPUT.json TYPE:BATCH_SIZE:FILE.jsonl ...

The time is that of the harness's own `loglikelihood` (its tokenization included), not of building tasks.
"""

import json
import pathlib
import sys
import time

import lm_eval
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM


def task_config(kind, path):
    config = {
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


class Timed(HFLM):
    seconds = 0.0

    def loglikelihood(self, requests, disable_tqdm=False):
        started = time.process_time()
        found = super().loglikelihood(requests, disable_tqdm=True)
        self.seconds += time.process_time() - started
        return found


def run(model, kind, path):
    found = lm_eval.simple_evaluate(
        model=model, tasks=[task_config(kind, path)], bootstrap_iters=0, log_samples=True, confirm_run_unsafe_code=False
    )
    return sorted(found["samples"][pathlib.Path(path).stem], key=lambda sample: sample["doc_id"])


def main():
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
