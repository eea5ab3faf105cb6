"""The Ray cluster: start one on this machine or join one, what its nodes have, how much may be submitted at a time.

Address: the flag, then `RAY_ADDRESS`, then a cluster of one on this machine (`address="local"`: without it Ray joins
whatever cluster runs here).
"""

from __future__ import annotations

import os
import pathlib
import socket
import time
from dataclasses import dataclass
from typing import Any

from corpusmith import packages
from corpusmith.errors import InputError, missing_package
from corpusmith.run.progress import say
from corpusmith.run.ray.execution import Execution

OBJECT_STORE_BYTES = 256 << 20
IN_FLIGHT_PER_CPU = 4
CONNECT_SECONDS = 5.0
RESOURCES_SECONDS = 5.0
# what a working directory may hold besides code; Ray refuses more than some hundred MB
NOT_SHIPPED = [
    "tests/",
    ".git/",
    ".venv/",
    "venv/",
    ".peers/",
    "*.zst",
    "*.gz",
    "*.tar",
    "*.parquet",
    "*.arrow",
    "*.pt",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterNode:
    """A node of the cluster: Ray's id of it, its CPUs, and the bytes of memory that Ray counts on it."""

    id: str
    cpus: int
    memory: int


class Cluster:
    """The cluster of an Execution; one that this process is connected to already is used and left as it is.

    `limit`: how many batches to submit at a time, some of which wait in Ray for a CPU; `parallel`: how many of them run
    at a time; `node_cpus`: CPUs of the largest node.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._is_started = False
        self._is_owned = False
        self._limits_until = 0.0
        self.limit = self.parallel = 1
        self.node_cpus = 1

    def start(self) -> None:
        """Start or join the cluster, once; InputError where it is not there or could never hold a task."""
        if self._is_started:
            return
        os.environ.setdefault("NUMBA_CACHE_DIR", str(pathlib.Path.home() / ".cache" / "corpusmith" / "numba"))
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise missing_package("ray", "all") from error
        self._is_started = True
        before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(packages.HOME), *filter(None, before)]))
        if not ray.is_initialized():
            self._connect()
            self._is_owned = True
        self._check_fits()

    def leave(self) -> None:
        """End the cluster of one, or leave the one that was joined here."""
        if self._is_owned:
            import ray

            ray.shutdown()
        self._is_started = self._is_owned = False

    @property
    def _address(self) -> str | None:
        """The cluster to join, if any."""
        return self._execution.ray_address or os.environ.get("RAY_ADDRESS")

    def _connect(self) -> None:
        import ray

        address = self._address
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if self._execution.ship_working_dir:
            common["runtime_env"] = {"working_dir": os.getcwd(), "excludes": NOT_SHIPPED}
        if address:
            _check_reachable(address)
            try:
                ray.init(address=address, **common)
            except ConnectionError as error:
                raise InputError(f"no Ray cluster at {address}: {error}") from error
            return
        ray.init(
            address="local",
            num_cpus=self._execution.cpus or os.cpu_count(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **common,
        )

    def nodes(self) -> list[ClusterNode]:
        """The nodes that are alive and have CPUs, this machine's first, then by id."""
        import ray

        here = ray.get_runtime_context().get_node_id()
        found = [
            ClusterNode(
                id=node["NodeID"],
                cpus=int(node["Resources"].get("CPU", 0)),
                memory=int(node["Resources"].get("memory", 0)),
            )
            for node in _alive_nodes()
        ]
        return sorted((node for node in found if node.cpus), key=lambda node: (node.id != here, node.id))

    def other_node_ids(self) -> list[str]:
        """Ray's ids of the nodes that are alive but this machine's."""
        import ray

        here = ray.get_runtime_context().get_node_id()
        return [node["NodeID"] for node in _alive_nodes() if node["NodeID"] != here]

    def _check_fits(self) -> None:
        """Refuse tasks that no node of this machine's cluster could ever hold; in a joined one nodes may still come."""
        nodes = [node["Resources"] for node in _alive_nodes()]
        self.node_cpus = int(max((node.get("CPU", 0) for node in nodes), default=1))
        memory = max((node.get("memory", 0) for node in nodes), default=0)
        wishes = [("--ray_num_cpus", self._execution.task_cpus, self.node_cpus, "CPUs")]
        if self._execution.task_memory is not None:
            wishes.append(("--memory_per_task", self._execution.task_memory, int(memory), "bytes"))
        for flag, wanted, there, unit in wishes:
            if wanted <= there:
                continue
            message = f"{flag} asks for {wanted} {unit}, but the largest node has {there}"
            if not self._address:
                raise InputError(message)
            say(f"warning: {message}; waiting for a larger one to join")

    def refresh_limits(self) -> None:
        """Look, every few seconds, how large the cluster is; no more than the wanted CPUs are used of another's."""
        import ray

        now = time.monotonic()
        if now < self._limits_until:
            return
        self._limits_until = now + RESOURCES_SECONDS
        cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
        wanted, each = self._execution.cpus, self._execution.task_cpus
        is_bounded = wanted is not None and wanted < cpus
        self.parallel = max(1, (wanted if wanted is not None and is_bounded else cpus) // each)
        self.limit = self.parallel * (1 if is_bounded else IN_FLIGHT_PER_CPU)


def _alive_nodes() -> list[dict[str, Any]]:
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def _check_reachable(address: str) -> None:
    """Raise InputError at once where nothing listens at `host:port`; Ray itself would try for minutes."""
    host, separator, port = address.rpartition(":")
    if not separator or "://" in address or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(f"no Ray cluster at {address}: {error.strerror or error}") from error


def affinity(node: str | None, *, soft: bool = True) -> dict[str, Any]:
    """What tells Ray to run a task on a node (any where None); `soft`: elsewhere where that one is gone."""
    if node is None:
        return {}
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=soft)}
