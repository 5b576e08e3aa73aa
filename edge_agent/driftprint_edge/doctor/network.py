"""Whether there is somebody at the other end."""

from __future__ import annotations

import socket

from driftprint_edge.doctor.finding import Finding, problem

REACH_SECONDS = 5.0


def check_reachable(name: str, host: str, port: int, *, seconds: float = REACH_SECONDS) -> Finding | None:
    """Connect over TCP, and hang up.

    Args:
        name: of the finding.
        host: to connect to.
        port: to connect to.
        seconds: to wait at most.

    Returns:
        The problem; None where there is none.
    """
    where = f"{host}:{port}"
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except socket.gaierror as error:
        return problem(
            name,
            f"{where}: no such name ({error.strerror})",
            "check the name's spelling, and this machine's DNS server",
        )
    except TimeoutError:
        return problem(
            name,
            f"{where}: no answer within {seconds:g} s",
            "check that it is on and in this network, and that no firewall drops the connection",
        )
    except ConnectionRefusedError:
        return problem(
            name, f"{where}: nothing listens there", "check the port, and that it runs and listens to other machines"
        )
    except (OSError, UnicodeError) as error:
        return problem(name, f"{where}: cannot be reached ({error})", "check the address, and this machine's network")
    return None
