"""Rows of `benchmarks/dedup.py` about MinHash dedup.

Signatures: ours against datasketch (both its schemes), rensa and datatrove, on the same pages with as many hashes of
5-word shingles; ours includes finding the words, the others get text and split it at white space, which is cheaper.
Whole dedup: ours against datatrove's four stages over the same shards, one process each, reading and writing included.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks._bench import ROOT, Row, page_shards
from benchmarks._dedup_scale import stage_seconds
from corpusmith.io.pages.shards import ShardRef, open_shard_writer, read_shard
from dedup.minhash import stage as minhash
from dedup.minhash.config import MinhashConfig
from dedup.minhash.shingles import Shingler
from dedup.minhash.signatures import Family, Signer

PEERS = ROOT / ".peers"
PEER_SCRIPT = ROOT / "benchmarks" / "_dedup_minhash_peers.py"
HASHES = 128
FINEWEB_HASHES = 112


# --- signatures ------------------------------------------------------------------------------------------------


def sign_all(texts: Sequence[str], hashes: int, family: Family) -> None:
    """Sign every text: words, shingles, signature."""
    shingler, signer = Shingler(), Signer(hashes=hashes, family=family)
    for text in texts:
        signer.sign(shingler.hashes(text))


def sign_with_datasketch(texts: Sequence[str], scheme: str) -> None:
    """Sign every text with datasketch: 5-word shingles of white-space words, `update_batch`."""
    import datasketch

    for text in texts:
        words = text.split()
        shingles = [" ".join(words[at : at + 5]).encode() for at in range(max(len(words) - 4, 1))]
        datasketch.MinHash(num_perm=HASHES, scheme=scheme).update_batch(shingles)


def cpu_seconds(function: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds of this process, after one call to warm up on the same work."""
    function()
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        function()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds)


def peer_seconds(peer: str, task: str, *arguments: str) -> float | str:
    """CPU seconds that a peer says it needed in its own environment, or why there is no figure."""
    python = PEERS / peer / "bin" / "python"
    if not (PEERS / peer / ".installed").exists():
        return f"{peer} is not installed; run: make peers"
    command = [str(python), str(PEER_SCRIPT), task, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"{peer} failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}"
    return float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])


def ratio_row(name: str, ours: float, other: float | str, goal: float) -> Row:
    """A row whose goal is that the other takes so many times as long; one without a figure says why."""
    if isinstance(other, str):
        return Row(name=f"{name} ({other})", ours=ours, other=0.0, unit="s", ratio=0.0, goal=f">= {goal:g}", met=None)
    ratio = other / ours
    return Row(name=name, ours=ours, other=other, unit="s", ratio=ratio, goal=f">= {goal:g}", met=ratio >= goal)


def signature_rows(shards: Sequence[ShardRef], repeats: int) -> list[Row]:
    """Signatures of all pages of some shards."""
    texts = [page["text"] for shard in shards for page in read_shard(shard.url)]
    affine = cpu_seconds(lambda: sign_all(texts, HASHES, "affine32"), repeats)
    mersenne = cpu_seconds(lambda: sign_all(texts, HASHES, "mersenne61"), repeats)
    fineweb = cpu_seconds(lambda: sign_all(texts, FINEWEB_HASHES, "affine32"), repeats)
    theirs = cpu_seconds(lambda: sign_with_datasketch(texts, "affine32"), 1)
    legacy = cpu_seconds(lambda: sign_with_datasketch(texts, "legacy"), 1)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "texts.json"
        path.write_text(json.dumps(texts))
        rensa = peer_seconds("rensa", "rensa", str(path), str(HASHES))
        cminhash = peer_seconds("rensa", "rensa-c", str(path), str(HASHES))
        datatrove = peer_seconds("datatrove", "datatrove-signatures", str(path))
    return [
        ratio_row("signatures: datasketch (its default) / ours", affine, theirs, 10),
        ratio_row("signatures: datasketch (legacy) / ours", affine, legacy, 10),
        ratio_row("signatures: datasketch (legacy) / ours by its arithmetic", mersenne, legacy, 8),
        ratio_row("signatures: rensa RMinHash / ours", affine, rensa, 3),
        ratio_row("signatures: rensa CMinHash / ours", affine, cminhash, 3),
        ratio_row("signatures: datatrove 14 x 8 / ours", fineweb, datatrove, 10),
    ]


# --- the whole -------------------------------------------------------------------------------------------------


def whole_rows(shards: list[ShardRef]) -> list[Row]:
    """The whole MinHash dedup against datatrove's."""
    stage = partial(minhash.plan_stage, MinhashConfig(), "00-minhash_dedup")
    stage_seconds(stage(), shards[:1])
    ours = stage_seconds(stage(), shards)
    with tempfile.TemporaryDirectory() as folder:
        for shard in shards:
            with open_shard_writer(f"{folder}/in/{shard.name}") as writer:
                for number, page in enumerate(read_shard(shard.url)):
                    writer.write({"text": page["text"], "id": f"{shard.name}/{number}", "url": page.get("url")})
        theirs = peer_seconds("datatrove", "datatrove-dedup", folder)
    return [ratio_row("whole MinHash dedup: datatrove's four stages / ours", ours, theirs, 4)]


def minhash_rows(source: str, quick: bool) -> list[Row]:
    """All rows; a quick run takes a quarter of the shards."""
    shards = page_shards(source, quick)
    return signature_rows(shards, 1 if quick else 3) + whole_rows(shards)
