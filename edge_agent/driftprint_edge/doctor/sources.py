"""Whether a stream's source has frames to give."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from driftprint.clock import Clock
from driftprint.errors import DriftprintError
from driftprint_edge.doctor.broker import check_broker
from driftprint_edge.doctor.finding import Finding, fine, problem, refused, warning
from driftprint_edge.doctor.network import REACH_SECONDS, check_reachable
from driftprint_edge.sources import SourceSettings
from driftprint_edge.sources.folder import FolderSettings
from driftprint_edge.sources.http import HttpSettings
from driftprint_edge.sources.mqtt import MqttSourceSettings
from driftprint_edge.sources.socket import SocketSettings
from driftprint_edge.sources.video import CameraSettings, RtspSettings, without_password

Access = Callable[[Path, int], bool]
"""As `os.access`."""

PORTS = {"http": 80, "https": 443, "rtmp": 1935, "rtsp": 554, "rtsps": 322, "tcp": None}
"""What is reached over TCP, and its usual port."""

SOCKET_PATH_BYTES = 107
"""Linux cuts no longer path of a socket."""


def check_source(name: str, source: SourceSettings, clock: Clock, *, access: Access = os.access) -> Iterator[Finding]:
    """Open the source as the agent would, and see whether it is there. No frame is taken from it.

    Args:
        name: of the findings.
        source: its settings.
        clock: paces it.
        access: tells whether this user may use a file.
    """
    try:
        source.open(clock)
    except DriftprintError as error:
        yield refused(name, error, "check the stream's source in agent.toml")
        return
    if isinstance(source, CameraSettings):
        yield _check_camera(name, Path(source.device), access)
    elif isinstance(source, RtspSettings):
        yield _check_network_camera(name, source.url)
    elif isinstance(source, FolderSettings):
        yield _check_folder(name, source.path, access, os.R_OK | os.X_OK)
    elif isinstance(source, MqttSourceSettings):
        yield from check_broker(source.broker, wall=clock.now().wall, table="stream.source.broker", name=name)
    elif isinstance(source, HttpSettings):
        yield _check_port(name, source.host, source.port)
    elif isinstance(source, SocketSettings):
        yield _check_socket(name, source.path, access)
    else:
        yield fine(name, f"{source.path} can be read")


def _check_camera(name: str, device: Path, access: Access) -> Finding:
    if not device.exists():
        others = sorted(map(str, device.parent.glob("video*")))
        return problem(
            name,
            f"{device}: no such device",
            f"set device to one of {', '.join(others)}" if others else "plug the camera in; in a container, hand it on",
        )
    if not access(device, os.R_OK | os.W_OK):
        return problem(
            name,
            f"{device}: this user may not use it",
            "add the agent's user to the group of cameras: sudo usermod --append --groups video USER",
        )
    return fine(name, f"{device} is there")


def _check_network_camera(name: str, url: str) -> Finding:
    shown = without_password(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        # Its words may hold a part of the password.
        return problem(
            name, f"{shown}: host and port cannot be told", "write a / in the password as %2F, an @ as %40, a : as %3A"
        )
    port = port or PORTS.get(parts.scheme)
    if parts.scheme not in PORTS or host is None or port is None:
        return fine(name, f"{shown}: cannot be tried beforehand")
    return check_reachable(name, host, port, seconds=REACH_SECONDS) or fine(name, f"{shown}: {host}:{port} answers")


def _check_folder(name: str, path: Path, access: Access, mode: int) -> Finding:
    if not path.is_dir():
        return problem(name, f"{path}: no such folder", "make it, or check the source's path")
    if not access(path, mode):
        return problem(name, f"{path}: this user may not use it", "let the agent's user in: chown, chgrp or chmod")
    return fine(name, f"{path} can be used")


def _check_socket(name: str, path: Path, access: Access) -> Finding:
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        return problem(name, f"{path}: longer than {SOCKET_PATH_BYTES} bytes", "choose a shorter path")
    return _check_folder(name, path.parent, access, os.W_OK | os.X_OK)


def _check_port(name: str, host: str, port: int) -> Finding:
    where = f"{host}:{port}"
    try:
        with socket.create_server((host, port)):
            return fine(name, f"{where} is free")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return warning(
                name, f"{where}: a program listens there", "if it is not the agent itself, choose another port"
            )
        return problem(
            name,
            f"{where}: cannot be listened to ({error.strerror or error})",
            "choose a port above 1023, and as host an address of this machine",
        )
