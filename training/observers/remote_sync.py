"""Copying an experiment's folder to another place while it grows, and back when a run goes on elsewhere.

Follows OpenLM's remote sync: the same tree under `<remote>/<name>/`, what is deleted here stays there, one last pass at
the end. Departs from it in four ways: a thread of the leading process does it, through the storage seam, so that any
URL will do; there is no pause before training; a file is copied whole under its name or not at all, weights after the
files that belong to them; and a failed pass is reported and made good by the next one.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator

from corpusmith.errors import CorpusmithError, InputError, RunFailed
from corpusmith.io import storage
from corpusmith.run.progress import say
from training.observers.observer import Observer
from training.state.checkpoint import RunProgress, checkpoint_number, latest_checkpoint
from training.state.ranks import Ranks, wait_for_all
from training.state.run_folder import CHECKPOINTS, ROLLING_CHECKPOINTS

DEFAULT_SECONDS = 300.0
_COPY_BYTES = 8 << 20


def copy_file(source: str, target: str) -> None:
    """Copy one file from any URL to any URL, whole or not at all."""
    with storage.open_read(source) as reader, storage.atomic_write(target) as writer:
        shutil.copyfileobj(reader, writer, _COPY_BYTES)


def sync_tree(folder: str, remote: str, copied: dict[str, tuple[int, str]]) -> int:
    """Copy what is new or changed below a folder.

    A file that vanishes while it is being looked at is left to the next pass.

    Args:
        folder: to copy from.
        remote: to copy to.
        copied: size and etag of what was copied before, by relative name; it is brought up to date.

    Returns:
        The number of files copied.
    """
    changed = {
        storage.relative(info.url, folder): (info.size, info.etag)
        for info in storage.list_files(folder)
        if copied.get(storage.relative(info.url, folder)) != (info.size, info.etag)
    }
    done = 0
    for name in sorted(changed, key=_weights_last):
        source = storage.join(folder, name)
        try:
            copy_file(source, storage.join(remote, name))
        except InputError:
            if storage.exists(source):
                raise
            continue
        copied[name] = changed[name]
        done += 1
    return done


def _weights_last(name: str) -> tuple[bool, str]:
    """An `epoch_n.pt` means a complete checkpoint, so it follows the other files."""
    return storage.basename(name).startswith("epoch_"), name


def fetch_latest(remote: str, folder: str) -> str | None:
    """Copy what a run needs to go on from `remote` to `folder`: its newest checkpoint, and all that is no checkpoint.

    Returns the local URL of the newest weights, or None where neither place has any. Where `folder` stands as far or
    further, nothing is copied. A rolling checkpoint comes along.
    """
    there, here = (latest_checkpoint(storage.join(place, CHECKPOINTS)) for place in (remote, folder))
    rolling = latest_checkpoint(storage.join(remote, ROLLING_CHECKPOINTS))
    if there is None and rolling is None:
        return here
    if here is not None and there is not None and checkpoint_number(here) >= checkpoint_number(there):
        return here
    newest = {CHECKPOINTS: there, ROLLING_CHECKPOINTS: rolling}
    endings = {name: f"_{checkpoint_number(url)}.pt" for name, url in newest.items() if url is not None}
    for name in sorted((storage.relative(info.url, remote) for info in storage.list_files(remote)), key=_weights_last):
        if not name.endswith(".pt") or name.endswith(endings.get(name.split("/")[0], "/")):
            copy_file(storage.join(remote, name), storage.join(folder, name))
    return latest_checkpoint(storage.join(folder, CHECKPOINTS))


class RemoteSync:
    """Brings `<remote>` up to date with `<folder>` every so many seconds, in a thread; use as a context manager.

    A pass that fails is reported once and repeated at the next turn; the last pass, at the end of the block, must
    succeed unless the block itself failed.

    Raises:
        RunFailed: the last pass failed.
    """

    def __init__(self, folder: str, remote: str, seconds: float = DEFAULT_SECONDS) -> None:
        self._folder, self._remote, self._seconds = folder, remote, seconds
        self._copied: dict[str, tuple[int, str]] = {}
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="remote-sync", daemon=True)

    def __enter__(self) -> RemoteSync:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()
        problem = self._try()
        if problem is not None and error is None:
            raise RunFailed(f"the last sync to {self._remote} failed ({problem}); what is in {self._folder} is whole")

    def soon(self) -> None:
        """Begin the next pass now: there is something worth copying."""
        self._wake.set()

    def _work(self) -> None:
        reported = False
        while not self._stop.is_set():
            self._wake.wait(self._seconds)
            self._wake.clear()
            if self._stop.is_set():
                return
            problem = self._try()
            if problem is not None and not reported:
                say(f"warning: sync to {self._remote} failed ({problem}); trying again later")
            reported = problem is not None

    def _try(self) -> str | None:
        """One pass; what went wrong, or None."""
        try:
            sync_tree(self._folder, self._remote, self._copied)
        except CorpusmithError as error:
            return str(error)
        return None


class _SyncAtCheckpoints(Observer):
    """Begins a pass whenever a checkpoint was written."""

    def __init__(self, sync: RemoteSync) -> None:
        self._sync = sync

    def on_checkpoint(self, url: str, progress: RunProgress) -> None:
        self._sync.soon()


@contextlib.contextmanager
def remote_copy(
    remote: str | None, folder: str, ranks: Ranks, seconds: float = DEFAULT_SECONDS
) -> Iterator[list[Observer]]:
    """Keep `remote` a copy of the experiment's folder inside the block; before it, fetch what the run goes on from.

    Every rank enters; one process per machine copies.

    Args:
        remote: where the copy goes; None does nothing.
        folder: the experiment's.
        ranks: this process among its peers.
        seconds: from one pass to the next.

    Yields:
        The observers that the loop must have.

    Raises:
        RunFailed: the last pass failed.
    """
    if remote is None:
        yield []
        return
    if ranks.local_rank == 0:
        fetch_latest(remote, folder)
    wait_for_all(ranks)
    if ranks.local_rank != 0:
        yield []
        return
    with RemoteSync(folder, remote, seconds) as sync:
        yield [_SyncAtCheckpoints(sync)]
