"""The Bloom-filter dedup by the command line: same bytes for 1, 2 and 4 workers, after kill -9, and over two nodes."""

from __future__ import annotations

import json
import os
import pathlib
import random
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from corpusmith.io.pages.shards import open_shard_writer
from tests.processes import ROOT, kill, kill_workers, printed, processes, start, wait_until

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.all]

SHARDS = 8
CONFIG = """
- source: cc
  steps:
    - func: bff
      remove_type: {mode}
      min_ngram_size: 3
      max_ngram_size: 5
      filtering_threshold: 0.5
      substr_seqlen: 8
      fp_rate: 0.3
      expected_ngram_count: 400000
      round_bytes: 150000
      {extra}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Shards of pages that share many lines."""
    home = tmp_path_factory.mktemp("bff-kills")
    draw = random.Random(0)
    lines: list[str] = []
    for shard in range(SHARDS):
        with open_shard_writer(str(home / "pages" / f"part{shard % 2}" / f"s{shard}.jsonl")) as writer:
            for number in range(400):
                text = []
                for _ in range(8):
                    if lines and draw.random() < 0.4:
                        text.append(draw.choice(lines))
                    else:
                        text.append(" ".join(f"w{draw.randrange(5000)}" for _ in range(draw.randrange(25))))
                        lines.append(text[-1])
                writer.write({"text": "\n".join(text), "url": f"http://example.org/{shard}/{number}"})
    for mode in ("old-both", "substring"):
        (home / f"{mode}.yaml").write_text(CONFIG.format(mode=mode, extra=""))
        # the same digest of what decides, another execution
        (home / f"{mode}-split.yaml").write_text(CONFIG.format(mode=mode, extra="filter_part_bytes: 40000"))
    return home


def command(home: pathlib.Path, config: str, out: pathlib.Path, cpus: int, address: str | None = None) -> list[str]:
    arguments = ["process", "--raw_data_dirpath", str(home / "pages"), "--config_path", str(home / f"{config}.yaml")]
    arguments += ["--output_dir", str(out), "--readable_name", out.name, "--exp-data-dir", str(out / "db")]
    arguments += ["--num_cpus", str(cpus), *(["--ray_address", address] if address else [])]
    return [sys.executable, "-m", "corpusmith", *arguments]


def finish(home: pathlib.Path, arguments: list[str]) -> None:
    assert start(home, arguments).wait(timeout=300) == 0, printed(home)


def result(out: pathlib.Path) -> dict[str, object]:
    """Data and books of a run."""
    files: dict[str, object] = {
        path.relative_to(path.parents[1]).as_posix(): path.read_bytes()
        for path in sorted(out.glob("*/processed_data/*/*"))
    }
    (ledger,) = out.glob("*/run/ledger.json")
    files["total"] = json.loads(ledger.read_bytes())["total"]
    assert len(files) == SHARDS + 1
    return files


@pytest.fixture(scope="module")
def calm(home: pathlib.Path) -> Callable[[str], dict[str, object]]:
    """The result of an undisturbed run on one worker, by mode."""
    known: dict[str, dict[str, object]] = {}

    def of(mode: str) -> dict[str, object]:
        if mode not in known:
            finish(home, command(home, mode, home / f"calm-{mode}", 1))
            known[mode] = result(home / f"calm-{mode}")
        return known[mode]

    return of


@pytest.mark.parametrize("cpus", [2, 4])
def test_any_number_of_workers_gives_the_same_bytes(
    home: pathlib.Path, calm: Callable[[str], dict[str, object]], cpus: int
) -> None:
    finish(home, command(home, "old-both", home / f"workers-{cpus}", cpus))
    assert result(home / f"workers-{cpus}") == calm("old-both")


def progress(out: pathlib.Path) -> int:
    """Files that phases wrote so far."""
    paths = out.glob("**/scratch/*/*/*")
    return sum(not path.name.startswith(".") for path in paths)


@pytest.mark.parametrize("mode", ["old-both", "substring"])
@pytest.mark.parametrize(("victim", "files"), [("driver", 20), ("worker", 12), ("worker", 33), ("driver", 28)])
def test_killed_run_ends_with_the_same_bytes(
    home: pathlib.Path, calm: Callable[[str], dict[str, object]], mode: str, victim: str, files: int
) -> None:
    expected = calm(mode)
    out = home / f"killed-{mode}-{victim}-{files}"
    process = start(home, command(home, mode, out, 2))
    wait_until(lambda: progress(out) >= files, f"{files} files stood", process)
    if victim == "worker":
        kill_workers(process)
        assert process.wait(timeout=300) == 0, printed(home)
    else:
        process.kill()
        process.wait()
        finish(home, command(home, mode, out, 1))
    kill(processes(process.pid))
    assert result(out) == expected


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two nodes of one CPU each on this machine."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}
        whole = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        whole.add_node(**node)
        yield whole
        whole.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("mode", ["old-both", "substring"])
def test_filter_split_over_two_nodes_gives_the_same_bytes(
    home: pathlib.Path, calm: Callable[[str], dict[str, object]], cluster: Cluster, mode: str
) -> None:
    out = home / f"split-{mode}"
    finish(home, command(home, f"{mode}-split", out, 2, cluster.address))
    (figures,) = out.glob("*/run/stages/*/filter.json")
    assert json.loads(figures.read_bytes())["parts"] == 4
    assert result(out) == calm(mode)
