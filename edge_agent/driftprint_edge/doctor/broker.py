"""Whether the broker can be reached, is the one it should be, and lets the device in."""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from driftprint.errors import ConfigError
from driftprint.mqtt import MqttSettings, make_client
from driftprint_edge.doctor.certificates import check_expiry, check_own_certificate, valid_until
from driftprint_edge.doctor.finding import Finding, fine, problem, refused
from driftprint_edge.doctor.network import REACH_SECONDS, check_reachable

_LOOP_SECONDS = 0.1

# OpenSSL's X509_V_ERR_..., https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_NOT_YET_VALID, _EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 62, 64


def check_broker(
    settings: MqttSettings, *, wall: float, table: str = "mqtt", name: str = "broker", seconds: float = REACH_SECONDS
) -> Iterator[Finding]:
    """Do what the agent does, up to the login, and go away again.

    Args:
        settings: where the broker is and how to log in.
        wall: now, Unix time in seconds.
        table: of agent.toml, that the settings are in.
        name: of the findings.
        seconds: to wait at most for each of its answers.
    """
    try:
        client = make_client(settings, f"driftprint-doctor-{secrets.token_hex(4)}", clean_session=True)
    except ConfigError as error:
        yield refused(f"{name}.tls", error, f"check the paths in [{table}], and who may read the files")
        return
    if settings.cert_file is not None:
        yield check_own_certificate(f"{name}.own_certificate", settings.cert_file, wall)
    if (unreachable := check_reachable(name, settings.host, settings.port, seconds=seconds)) is not None:
        yield unreachable
        return
    yield fine(name, f"{settings.host}:{settings.port} takes connections")
    answers: list[ReasonCode] = []

    def on_connect(_client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        answers.append(reason)

    client.on_connect = on_connect
    client.connect_timeout = seconds
    try:
        client.connect(settings.host, settings.port, settings.keepalive_seconds)
    except (OSError, ValueError) as error:  # paho refuses some hosts with the latter
        yield _explain_tls(f"{name}.tls", error, table)
        return
    if isinstance(sock := client.socket(), ssl.SSLSocket):
        yield _check_tls(f"{name}.tls", sock, wall)
    end = time.monotonic() + seconds
    result = paho.MQTT_ERR_SUCCESS
    while not answers and result == paho.MQTT_ERR_SUCCESS and time.monotonic() < end:
        result = client.loop(_LOOP_SECONDS)
    client.disconnect()
    yield _judge_login(f"{name}.login", answers, settings, table)


def _check_tls(name: str, sock: ssl.SSLSocket, wall: float) -> Finding:
    certificate = sock.getpeercert(binary_form=True)
    if certificate is None:
        return fine(name, f"{sock.version()}")
    return check_expiry(name, f"{sock.version()}, the broker's certificate", valid_until(certificate), wall)


def _explain_tls(name: str, error: OSError | ValueError, table: str) -> Finding:
    """Why there is a connection over TCP, but none over TLS."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return problem(
            name,
            f"no TLS connection ({getattr(error, 'reason', None) or error})",
            f"check that {table}.port is the broker's port for TLS, usually 8883",
        )
    if error.verify_code == _NOT_YET_VALID:
        fix = "set this machine's clock; if it is right, the broker's"
    elif error.verify_code == _EXPIRED:
        fix = "renew the broker's certificate, or that of its authority; if they should hold, set this machine's clock"
    elif error.verify_code in (_OTHER_HOST, _OTHER_ADDRESS):
        fix = f"set {table}.host to a name in the broker's certificate, or issue it for this one"
    else:
        fix = f"{table}.ca_file must hold the authority that has issued the broker's certificate"
    return problem(name, f"the broker's certificate is refused: {error.verify_message}", fix)


def _judge_login(name: str, answers: list[ReasonCode], settings: MqttSettings, table: str) -> Finding:
    who = settings.username or "nobody in particular"
    if not answers:
        what = "the broker breaks off the connection, or says nothing"
        if settings.ca_file is None:
            return problem(name, what, f"if this is its port for TLS, set {table}.ca_file; else look into its log")
        if settings.cert_file is None:
            return problem(
                name, what, f"if it asks for certificates, set {table}.cert_file and key_file; else look into its log"
            )
        return problem(name, what, f"check that it accepts the authority of {table}.cert_file; look into its log")
    if answers[0].is_failure:
        return problem(
            name,
            f"the broker refuses {who} ({answers[0]})",
            f"check {table}.username and {table}.password (or the environment's), and the broker's list of users",
        )
    return fine(name, f"the broker lets {who} in")
