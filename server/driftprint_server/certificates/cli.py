"""``driftprint certificates``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from driftprint_server.certificates.authority import Office


class Action(str, Enum):
    """What is to be done."""

    INIT = "init"
    BROKER = "broker"
    SERVER = "server"
    DEVICE = "device"
    READER = "reader"
    RENEW = "renew"
    REVOKE = "revoke"
    LIST = "list"


def certificates(
    action: Annotated[Action, typer.Argument(help="What to do; see above.", show_default=False)],
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Whom for. Devices: DEVICE@SITE, or DEVICE at the site `default`.", show_default=False),
    ] = None,
    folder: Annotated[Path, typer.Option(help="The authority's folder.")] = Path("certificates"),
    days: Annotated[
        int | None, typer.Option(min=1, max=36500, help="How long it lasts. Default: 398; the authority: 3650.")
    ] = None,
    within: Annotated[int, typer.Option(min=0, help="Without names, `renew` takes all that end in so many days.")] = 30,
    home_assistant: Annotated[
        str | None,
        typer.Option(help="The discovery prefix, `homeassistant`, of devices and readers that speak with it."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="A new key for whoever has one; what they had is revoked.")
    ] = False,
) -> None:
    """Certificates for the broker, the server and devices, and who may read and write which topics.

    - `init`: make an authority. Its key, `authority.key`, can make anybody: keep it off the network.

    - `broker HOST...`: the broker's own, with all names and addresses by which it is reached.

    - `server [NAME]`: for `driftprint server`; each replica needs one of its own.

    - `device NAME...`: for agents. Each may write and read its own topics only.

    - `reader NAME...`: for others who read all that devices say.

    - `renew [NAME...]`: for longer, with the same key. `revoke NAME...`: let them in no more. `list`: who has one.

    The broker's settings are in `deploy/mosquitto-tls`; `docs/security.md` goes through it all.
    """
    import re
    from datetime import datetime, timezone

    from driftprint.errors import ConfigError, MissingExtraError
    from driftprint.topics import ID_PATTERN

    try:
        from driftprint_server.certificates import instructions
        from driftprint_server.certificates.authority import AUTHORITY_DAYS, DAYS, Office, found
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"certificates need the package {error.name}", extra="certificates") from None
    from driftprint_server.certificates.holder import Kind, holder_of

    given = names or []
    now = datetime.now(timezone.utc)
    if action in (Action.INIT, Action.LIST) and given:
        raise ConfigError("takes no names", where=action.value)
    if action in (Action.BROKER, Action.DEVICE, Action.READER, Action.REVOKE) and not given:
        raise ConfigError("whom for?", where=action.value, fix="name a host" if action is Action.BROKER else "name one")
    if home_assistant is not None:
        if action not in (Action.DEVICE, Action.READER):
            raise ConfigError("is for devices and readers", where="--home-assistant")
        if not re.fullmatch(ID_PATTERN, home_assistant):
            raise ConfigError("not one level of a topic", where="--home-assistant", fix="give the discovery prefix")
    if action is Action.INIT:
        found(folder, now=now, days=days or AUTHORITY_DAYS)
        print(f"{folder}/authority.key: whoever has it can be anybody; keep a copy, and keep it off the network")
        print("next: driftprint certificates broker HOST...")
        return
    office = Office(folder, now=now)
    if action is Action.LIST:
        for one in office.register.issued:
            print(f"{one.kind.value:7}", instructions.summary(one), *(["(revoked)"] if one.revoked else []))
    elif action is Action.REVOKE:
        for name in given:
            office.revoke(_full(name, office))
        print(f"revoked: {', '.join(given)}")
        print(instructions.for_broker(office.broker))
    elif action is Action.RENEW:
        due = [_full(name, office) for name in given] or [one.name for one in office.expiring(within)]
        for name in due:
            print(f"{instructions.summary(one := office.renew(name, days=days or DAYS))}; copy anew:")
            print(f"  {office.files(one.holder).certificate}")
        print("their keys are the same" if due else f"nobody's ends within {within} days")
        if "broker" in due:
            print(instructions.for_broker(office.broker))
    elif action is Action.BROKER:
        holder = holder_of(Kind.BROKER, "broker")
        issued = office.issue(holder, hosts=given, days=days or DAYS, force=force)
        print(instructions.summary(issued))
        print(instructions.for_broker(office.broker))
    else:
        holders = [holder_of(Kind(action.value), name) for name in given or ["server"]]
        for holder in holders:
            issued = office.issue(holder, days=days or DAYS, home_assistant=home_assistant, force=force)
            print(instructions.for_holder(issued, office.files(holder), office.hosts))
        print(instructions.for_broker(office.broker))


def _full(name: str, office: Office) -> str:
    """A name as the register has it: devices may be named without their site where it is "default"."""
    from driftprint_server.certificates.holder import Kind, holder_of

    return name if name in office.register.valid() else holder_of(Kind.DEVICE, name).name
