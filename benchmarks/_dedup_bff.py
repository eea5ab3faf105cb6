"""The rows of the Bloom-filter dedup for `benchmarks/dedup.py`: ours, the I/O floor, and the dolma wheel's.

All work on the same shards (zstd) on one core, whole stage against whole stage: read, segment, hash, look up, decide,
write the shards without what repeats. The dolma wheel dedups paragraphs by 13-grams into attributes and its mixer
applies them. All filters have the same number of hashes and as good as the same size (dolma derives its k from size and
count; 256 MiB for 149 million n-grams gives 10). With `--memory`: peak memory against `--plan` at 1x, 4x and 16x of
the data, and seconds per MB.
"""

from __future__ import annotations

if not __package__:
    import pathlib, sys; sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])  # fmt: skip  # noqa: E401, E702, I001

import contextlib
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks._bench import ROOT, Row, interleaved, make_parser, page_shards, report, spread
from corpusmith.errors import CorpusmithError
from corpusmith.io.shards import ShardRef, list_shards, open_shard_writer, read_shard
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan
from corpusmith.run.runner import Execution, Node, Outcome
from dedup.bff_config import BffConfig
from dedup.bff_stage import plan_stage, warm_kernels

PEER = ROOT / ".peers" / "dolma" / "bin" / "python"
FILTER_BYTES = 256 << 20
FILTER_NGRAMS = 149_000_000
HASHES = 10
NGRAM = 13
THRESHOLD = 0.8
GOAL_PEER = 2.0
GOAL_FLOOR = 5.0
PEER_CODE = """
import json, sys, time
from dolma.dolma import deduper_entrypoint, mixer_entrypoint
dedupe, mix = json.load(sys.stdin)
started = time.process_time()
deduper_entrypoint(json.dumps(dedupe))
mixer_entrypoint(json.dumps(mix))
print("SECONDS", time.process_time() - started)
"""


class SequentialRunner:
    """The runner's seam without Ray: tasks one after the other in this process, so that CPU seconds can be told."""

    def __init__(self, execution: Execution) -> None:
        del execution

    def __enter__(self) -> SequentialRunner:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def nodes(self) -> list[Node]:
        """One node, this machine."""
        return [Node(id="here", cpus=1, memory=0)]

    def map(self, function: Callable[[Any], Any], tasks: Sequence[Any], **_: Any) -> Iterator[Outcome[Any]]:
        """Run each task; an error ends the benchmark."""
        for index, task in enumerate(tasks):
            yield Outcome(name=str(index), index=index, value=function(task))


def prepare(shards: list[ShardRef], folder: pathlib.Path) -> list[ShardRef]:
    """The shards once more as dolma wants them: each page with an id and a source."""
    number = 0
    for shard in shards:
        with open_shard_writer(str(folder / "documents" / shard.name)) as writer:
            for page in read_shard(shard.url):
                number += 1
                kept = {key: page[key] for key in ("url", "text", "metadata") if key in page}
                writer.write({"id": str(number), "source": "pages", "added": "2024-01-01T00:00:00.000Z", **kept})
    return list_shards(str(folder / "documents"))


def run_ours(shards: list[ShardRef], folder: pathlib.Path, remove_type: str) -> None:
    """The stage as a run does it: plan, hash, settle, write, books, verification."""
    root = folder / "ours"
    shutil.rmtree(root, ignore_errors=True)
    config = BffConfig(
        remove_type=remove_type,
        min_ngram_size=NGRAM,
        max_ngram_size=NGRAM,
        filtering_threshold=THRESHOLD,
        fp_rate=0.0015,
        expected_ngram_count=FILTER_NGRAMS,
        num_hashers=HASHES,
    )
    place = RunPlace(root=str(root / "run"), output=str(root / "out"), errors=str(root / "errors"))
    plan = RunPlan(inputs=shards, stages=[plan_stage(config, "00-bff")])
    Run(place, plan, SequentialRunner).execute(Execution(), RunOptions())  # type: ignore[arg-type]


def run_floor(shards: list[ShardRef], folder: pathlib.Path) -> None:
    """Read and write every page."""
    for shard in shards:
        with open_shard_writer(str(folder / "floor" / shard.name)) as writer:
            for page in read_shard(shard.url):
                writer.write(page)


def peer_seconds(shards: list[ShardRef], folder: pathlib.Path) -> float:
    """CPU seconds of the dolma wheel's dedup and mixer in a process of their own."""
    for name in ("attributes", "mixed", "bloom.bin"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).unlink(missing_ok=True)
    documents = [shard.url for shard in shards]
    common = {
        "processes": 1,
        "work_dir": {"input": str(folder / "work_in"), "output": str(folder / "work_out")},
    }
    by_ngram = {
        "ngram_length": NGRAM,
        "stride": 1,
        "overlap_threshold": THRESHOLD,
        "skip_short_paragraphs": True,
    }
    compression = {"input": "zst", "output": "zst"}
    dedupe = {
        **common,
        "name": "bff",
        "documents": documents,
        "dedupe": {
            "name": "bff",
            "paragraphs": {"attribute_name": "repeated", "by_ngram": by_ngram, "paragraph_separator": "\n"},
            "skip_empty": True,
            "min_length": 0,
            "min_words": 0,
        },
        "bloom_filter": {
            "file": str(folder / "bloom.bin"),
            "size_in_bytes": FILTER_BYTES,
            "read_only": False,
            "estimated_doc_count": FILTER_NGRAMS,
            "desired_false_positive_rate": 0.001,
        },
        "compression": compression,
    }
    stream = {
        "name": "mixed",
        "documents": documents,
        "attributes": ["bff"],
        "output": {"path": str(folder / "mixed"), "max_size_in_bytes": 1 << 40},
        "span_replacement": [{"span": "$.attributes.repeated", "min_score": THRESHOLD, "replacement": ""}],
        "compression": compression,
    }
    done = subprocess.run(
        [str(PEER), "-c", PEER_CODE],
        input=json.dumps([dedupe, {**common, "streams": [stream]}]),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.rsplit("SECONDS", 1)[1])


def bff_rows(source: str, quick: bool) -> list[Row]:
    """Ours against the floor and the dolma wheel, CPU seconds; a peer that is not there is a row that says so."""
    repeats = 1 if quick else 3
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        shards = prepare(page_shards(source, quick), folder)
        warm_kernels()
        modes = ("paragraph", "old-both", "substring")
        contenders: dict[str, Callable[[], object]] = {"floor": lambda: run_floor(shards, folder)}
        for mode in modes:
            contenders[mode] = lambda mode=mode: run_ours(shards, folder, mode)  # type: ignore[misc]
        seconds = interleaved(contenders, repeats)
        if PEER.exists():
            peer_seconds(shards, folder)
            seconds["dolma wheel"] = [peer_seconds(shards, folder) for _ in range(repeats)]
    for contender, values in seconds.items():
        sys.stdout.write(f"bff: {contender}: {spread(values)}\n")
    medians = {contender: statistics.median(values) for contender, values in seconds.items()}
    for mode in modes:
        ratio = medians[mode] / medians["floor"]
        rows.append(
            _row(
                f"bff {mode} / floor", medians[mode], medians["floor"], ratio, f"<= {GOAL_FLOOR:g}", ratio <= GOAL_FLOOR
            )
        )
    if "dolma wheel" in medians:
        ratio = medians["dolma wheel"] / medians["paragraph"]
        rows.append(
            _row(
                "dolma wheel / bff paragraph",
                medians["paragraph"],
                medians["dolma wheel"],
                ratio,
                f">= {GOAL_PEER:g}",
                ratio >= GOAL_PEER,
            )
        )
    else:
        rows.append(
            _row(
                "dolma wheel / bff paragraph: not installed (make peers)",
                medians["paragraph"],
                float("nan"),
                float("nan"),
                f">= {GOAL_PEER:g}",
                None,
            )
        )
    return rows


def _row(name: str, ours: float, other: float, ratio: float, goal: str, met: bool | None) -> Row:
    return Row(name=name, ours=ours, other=other, unit="s", ratio=ratio, goal=goal, met=met)


# --- memory and time from 1x to 16x ---------------------------------------------------------------------------

TIMES = (1, 4, 16)
WORKERS = 2
PLANNED = re.compile(r"^memory: +([\d,]+) bytes", re.MULTILINE)
TOLERANCE = 0.2


def _session_bytes(session: int) -> int:
    """Memory of the processes of a session: their proportional share, without what they map of shared memory."""
    total = 0
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) != session:
                continue
            for line in (folder / "smaps_rollup").read_text().splitlines():
                if line.startswith(("Pss_Anon:", "Pss_File:")):
                    total += int(line.split()[1]) << 10
    return total


def _filter_bytes() -> int:
    """What filters of ours take in shared memory."""
    found = 0
    for path in pathlib.Path("/dev/shm").glob(f"corpusmith-bloom-{os.getuid()}-*"):
        with contextlib.suppress(OSError):
            found += path.stat().st_blocks * 512
    return found


def _peak(command: list[str]) -> tuple[int, float]:
    """Peak memory of a command and all that it starts, and its CPU seconds."""
    before = os.times()
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _session_bytes(process.pid) + _filter_bytes())
        time.sleep(0.2)
    after = os.times()
    if process.returncode:
        raise CorpusmithError(f"{' '.join(command)}: exit code {process.returncode}")
    return peak, after.children_user + after.children_system - before.children_user - before.children_system


def _multiply(shards: list[ShardRef], folder: pathlib.Path, times: int) -> None:
    """The shards so many times, each copy with words of its own, so that the filter grows with the data."""
    for copy in range(times):
        for shard in shards:
            with open_shard_writer(str(folder / f"{copy:02d}" / shard.name)) as writer:
                for page in read_shard(shard.url):
                    page["text"] = page["text"].replace(" the ", f" the{copy} ").replace(". ", f" x{copy}. ")
                    writer.write(page)


def memory_rows(source: str) -> list[Row]:
    """Peak memory against `--plan`, in MB, on Ray with two workers, at 1x, 4x and 16x of a quarter of the shards."""
    rows = []
    for times in TIMES:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            _multiply(page_shards(source, True), folder / "in", times)
            command = [sys.executable, str(ROOT / "dedup" / "bff.py"), "--inputs", str(folder / "in")]
            command += ["--output-directory", str(folder / "out"), "--min-ngram-size", "13", "--max-ngram-size", "13"]
            command += ["--remove-type", "old-both", "-t", str(WORKERS), "--no-progress-bar", "--fp-rate", "1e-9"]
            planned = subprocess.run([*command, "--plan"], check=True, capture_output=True, text=True).stdout
            found = PLANNED.search(planned)
            expected = int(found[1].replace(",", "")) if found else 0
            peak, seconds = _peak(command)
            stored = sum(shard.bytes for shard in list_shards(str(folder / "in")))
        sys.stdout.write(f"bff: {times}x: {stored / 1e6:.1f} MB stored, {1e6 * seconds / stored:.3f} CPU s per MB\n")
        ratio = peak / expected
        rows.append(
            Row(
                name=f"bff memory / plan, {times}x",
                ours=peak / 1e6,
                other=expected / 1e6,
                unit="MB",
                ratio=ratio,
                goal=f"{1 - TOLERANCE:g} to {1 + TOLERANCE:g}",
                met=abs(ratio - 1) <= TOLERANCE,
            )
        )
    return rows


def main() -> int:
    """Print the rows; exit code 2 where there is nothing to measure."""
    parser = make_parser(__doc__ or "")
    parser.add_argument("--memory", action="store_true", help="measure memory on Ray instead")
    arguments = parser.parse_args()
    try:
        rows = memory_rows(arguments.source) if arguments.memory else bff_rows(arguments.source, arguments.quick)
    except CorpusmithError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    report(rows, arguments.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
