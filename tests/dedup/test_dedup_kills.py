"""`corpusmith dedup exact|minhash`: the same bytes for 1, 2 and 4 workers and after kill -9 of worker and driver."""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Callable

import numpy as np
import pytest

from corpusmith.io.pages.shards import open_shard_writer
from tests.processes import kill, kill_workers, printed, processes, start, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SHARDS, PAGES, WORDS = 12, 150, 150
FLAGS = {
    "minhash": ["--preset", "fineweb", "--selection_key", "score", "--selection_reverse"],
    "exact": ["--normalize", "normalize_whitespace_and_lowercase", "--selection_key", "score"],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Shards of random pages, a third of them copies of others with a few words changed or none."""
    home = tmp_path_factory.mktemp("dedup-kills")
    draw = np.random.default_rng(6)
    first = [draw.integers(0, 30_000, WORDS).astype(str) for _ in range(SHARDS * PAGES * 2 // 3)]
    copies = [words.copy() for words in first[: len(first) // 2]]
    for number, words in enumerate(copies):
        words[: number % 4] = "changed"
    texts = [" ".join(words) for words in first + copies]
    for shard, numbers in enumerate(np.array_split(draw.permutation(len(texts)), SHARDS)):
        with open_shard_writer(str(home / "pages" / f"part{shard % 2}" / f"{shard}.jsonl.zst")) as writer:
            for number in numbers.tolist():
                writer.write({"text": texts[number], "score": number % 7, "url": f"https://x{number % 5}.org/{number}"})
    return home


def command(home: pathlib.Path, algorithm: str, out: pathlib.Path, cpus: int) -> list[str]:
    arguments = ["dedup", algorithm, "--input", str(home / "pages"), "--output_dir", str(out)]
    arguments += ["--readable_name", out.name, "--exp-data-dir", str(out / "db"), "--num_cpus", str(cpus)]
    return [sys.executable, "-m", "corpusmith", *arguments, *FLAGS[algorithm]]


def finish(home: pathlib.Path, algorithm: str, out: pathlib.Path, cpus: int) -> None:
    assert start(home, command(home, algorithm, out, cpus)).wait(timeout=200) == 0, printed(home)


def result(out: pathlib.Path) -> dict[str, object]:
    """All that a dedup is for: data, groups, members and the books; by path."""
    files: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and {"processed_data", "groups", "members", "errors"} & set(path.parts):
            files[str(path.relative_to(out))] = path.read_bytes()
    files["books"] = json.loads((out / "run" / "ledger.json").read_bytes())["total"]
    return files


@pytest.fixture(scope="module")
def calm(home: pathlib.Path) -> Callable[[str], dict[str, object]]:
    """The result of an undisturbed run with two workers; made when it is first asked for."""
    known: dict[str, dict[str, object]] = {}

    def of(algorithm: str) -> dict[str, object]:
        if algorithm not in known:
            out = home / f"calm-{algorithm}"
            finish(home, algorithm, out, 2)
            known[algorithm] = result(out)
            assert len(known[algorithm]) > 2 * SHARDS
        return known[algorithm]

    return of


def written(out: pathlib.Path) -> int:
    """Files that the phases of a run have written so far."""
    return sum(1 for path in out.glob("run/stages/*/scratch/**/*") if path.is_file() and path.name[0] != ".")


@pytest.mark.all
@pytest.mark.parametrize("cpus", [1, 4])
@pytest.mark.parametrize("algorithm", FLAGS)
def test_any_number_of_workers_gives_the_same_bytes(
    home: pathlib.Path, calm: Callable[[str], dict[str, object]], algorithm: str, cpus: int
) -> None:
    out = home / f"workers-{algorithm}-{cpus}"
    finish(home, algorithm, out, cpus)
    assert result(out) == calm(algorithm)


@pytest.mark.parametrize(
    ("algorithm", "victim", "files"),
    [
        ("minhash", "both", 30),
        *(
            pytest.param(algorithm, victim, files, marks=pytest.mark.all)
            for algorithm, moments in (("minhash", (5, 26, 40)), ("exact", (3, 20, 26)))
            for victim, files in zip(("worker", "driver", "both"), moments, strict=True)
        ),
    ],
)
def test_a_killed_dedup_ends_with_the_same_bytes(
    home: pathlib.Path, calm: Callable[[str], dict[str, object]], algorithm: str, victim: str, files: int
) -> None:
    expected = calm(algorithm)
    out = home / f"killed-{algorithm}-{victim}-{files}"
    process = start(home, command(home, algorithm, out, 1))
    wait_until(lambda: written(out) >= files, f"{files} files stood", process)
    if victim != "driver":
        kill_workers(process)
    if victim == "worker":
        assert process.wait(timeout=200) == 0, printed(home)
    else:
        process.kill()
        process.wait()
        kill(processes(process.pid))
        finish(home, algorithm, out, 4)
    assert result(out) == expected
    assert not list(out.rglob(".partial-*"))
    assert not list(out.rglob("scratch/*"))
