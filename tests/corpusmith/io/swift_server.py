"""An OpenStack Swift with its S3 API on this machine, the independent second S3 endpoint of the tests.

Needs Debian's packages swift, swift-proxy, swift-account, swift-container, swift-object and memcached. Unlike moto it
checks signatures; it has no conditional put. Key id `test:tester`, secret `testing`.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

KEY_ID = "test:tester"
SECRET = "testing"
COMMANDS = ("swift-proxy-server", "swift-account-server", "swift-container-server", "swift-object-server")
START_SECONDS = 60.0

SERVER = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 1
user = {user}
devices = {devices}
mount_check = false
log_level = ERROR
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 1
user = {user}
log_level = ERROR
[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""


def missing_commands() -> list[str]:
    """The programs that a Swift needs and that are not installed."""
    return [name for name in (*COMMANDS, "swift-ring-builder", "memcached") if shutil.which(name) is None]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port} after {START_SECONDS:.0f} s")


def _write_rings(folder: pathlib.Path, ports: dict[str, int]) -> None:
    for kind, port in ports.items():
        for command in (["create", "6", "1", "1"], ["add", f"r1z1-127.0.0.1:{port}/sda", "1"], ["rebalance"]):
            subprocess.run(
                ["swift-ring-builder", f"{kind}.builder", *command], cwd=folder, check=True, capture_output=True
            )


@contextlib.contextmanager
def swift_endpoint(folder: pathlib.Path) -> Iterator[str]:
    """Run a Swift whose files lie in `folder`; yields the URL of its S3 API."""
    user = (
        os.environ.get("USER")
        or subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    )
    ports = {kind: _free_port() for kind in ("account", "container", "object")}
    proxy, memcached = _free_port(), _free_port()
    (folder / "devices" / "sda").mkdir(parents=True)
    _write_rings(folder, ports)
    commands = []
    for kind, port in ports.items():
        config = folder / f"{kind}-server.conf"
        text = SERVER.format(port=port, kind=kind, user=user, devices=folder / "devices")
        config.write_text(text.replace("[DEFAULT]", f"[DEFAULT]\nswift_dir = {folder}"))
        commands.append((port, [f"swift-{kind}-server", str(config)]))
    config = folder / "proxy-server.conf"
    text = PROXY.format(port=proxy, memcached=memcached, user=user)
    config.write_text(text.replace("[DEFAULT]", f"[DEFAULT]\nswift_dir = {folder}"))
    commands.insert(0, (memcached, ["memcached", "-u", user, "-l", "127.0.0.1", "-p", str(memcached)]))
    commands.append((proxy, ["swift-proxy-server", str(config)]))
    with contextlib.ExitStack() as stack:
        for port, command in commands:
            log = stack.enter_context((folder / f"{command[0]}.log").open("wb"))
            process = subprocess.Popen(command, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            _wait_for(port, process)
        yield f"http://127.0.0.1:{proxy}"
