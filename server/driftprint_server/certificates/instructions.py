"""What is left to do by hand, once a certificate is made: which file goes where, and what the settings are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from driftprint_server.certificates.authority import Files
from driftprint_server.certificates.holder import Kind
from driftprint_server.certificates.register import Issued

HOLDERS_FOLDER = "/etc/driftprint"
BROKERS_FOLDER = "/etc/mosquitto/driftprint"
PORT = 8883

_SETTINGS = {
    Kind.DEVICE: "# agent.toml",
    Kind.SERVER: "# server.toml",
    Kind.READER: "# as agent and server would have it",
}


def for_holder(issued: Issued, files: Files, hosts: Sequence[str]) -> str:
    """For a device, server or reader.

    Args:
        issued: its certificate.
        files: what it needs.
        hosts: the broker's names, if they are known.
    """
    names = (files.ca.name, files.certificate.name, files.key.name)
    lines = [
        f"{summary(issued)}; copy from {files.folder} to {HOLDERS_FOLDER}: {' '.join(names)}",
        _SETTINGS[issued.kind],
    ]
    if issued.kind is Kind.DEVICE:
        lines += [f'site = "{issued.holder.site}"', f'device = "{issued.holder.device}"']
    lines += ["[mqtt]", f'host = "{next(iter(hosts), "broker.example")}"', f"port = {PORT}"]
    keys = ("ca_file", "cert_file", "key_file")
    lines += [f'{key} = "{HOLDERS_FOLDER}/{name}"' for key, name in zip(keys, names, strict=True)]
    return "\n".join((*lines, ""))


def for_broker(folder: Path) -> str:
    """For the broker, which must learn of every certificate that is issued or revoked.

    Args:
        folder: what it needs.
    """
    return "\n".join(
        (
            f"on the broker's machine, with a copy of {folder}:",
            f"  sudo install -d -o mosquitto -m 700 {BROKERS_FOLDER}",
            f"  sudo install -o mosquitto -m 600 {folder.name}/* {BROKERS_FOLDER}/",
            "  sudo systemctl reload mosquitto",
        )
    )


def summary(issued: Issued) -> str:
    """A certificate in half a line."""
    hosts = f" ({', '.join(issued.hosts)})" if issued.hosts else ""
    return f"{issued.name}{hosts}: until {issued.until:%Y-%m-%d}"
