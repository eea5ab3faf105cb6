"""Tokenizing 16 times the data takes no more memory: a partition, a spill file and a batch bound it."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from corpusmith.io.pages.shards import open_shard_writer
from tests.ray_processing.tokens.tokenizing import make_home

JOB = """
import dataclasses, pathlib, resource, sys
from corpusmith.run.run import Run, RunOptions
from corpusmith.run.ray.execution import Execution
from ray_processing.tokens.config import plan_partitions
from ray_processing.tokens.outcome import finish_tokens
from ray_processing.tokens.stages import open_run, plan_run
from tests.ray_processing.tokens.tokenizing import InlineRunner, request_for
home, root = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
tokens = open_run(request_for(home, root, inputs=(sys.argv[3],), seqlen=127, format_name=sys.argv[4]))
config = dataclasses.replace(tokens.config, partition_bytes=1 << 19, spill_bytes=1 << 19)
shards = tokens.run.plan.inputs
run = Run(tokens.run.place, plan_run(shards, config, plan_partitions(shards, config), None), InlineRunner)
tokens = dataclasses.replace(tokens, run=run, config=config)
finish_tokens(tokens, run.execute(Execution(), RunOptions()))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_mib(home: pathlib.Path, root: pathlib.Path, pages: pathlib.Path, format_name: str) -> int:
    command = [sys.executable, "-c", JOB, str(home), str(root), str(pages), format_name]
    done = subprocess.run(command, capture_output=True, text=True, cwd=pathlib.Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.splitlines()[-1])


@pytest.mark.all
@pytest.mark.parametrize("format_name", ["wds", "bin"])
def test_peak_memory_is_flat_from_once_to_16_times_the_data(tmp_path: pathlib.Path, format_name: str) -> None:
    home = make_home(tmp_path / "home", ["a.jsonl"], 40)
    for times in (1, 16):
        for copy in range(times):
            with open_shard_writer(str(tmp_path / f"pages-{times}" / f"{copy:02d}.jsonl.zst")) as writer:
                for page in range(600):
                    writer.write({"id": page, "text": f"word{copy} number{page} " * (page % 97)})
    one, sixteen = (
        peak_mib(home, tmp_path / f"out-{times}", tmp_path / f"pages-{times}", format_name) for times in (1, 16)
    )
    assert sixteen <= 1.1 * one + 10
