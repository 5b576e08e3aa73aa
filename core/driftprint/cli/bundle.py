"""``driftprint bundle``: look at bundles, sign them, and check them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from driftprint.manifest import Fingerprint, Manifest

bundle = typer.Typer(name="bundle", no_args_is_help=True, help="List, inspect, verify and sign bundles.")

_Bundle = Annotated[str, typer.Argument(help="A bundle's path, or the name of a reference bundle.")]
_Json = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@bundle.command("list")
def list_bundles(as_json: _Json = False) -> None:
    """List the reference bundles that come with the install."""
    from driftprint.installed import reference_bundles

    bundles = reference_bundles()
    if as_json:
        rows = [{"name": manifest.name, "version": manifest.version, "path": str(path)} for manifest, path in bundles]
        print(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "version", "description", "path", box=None, header_style="bold")
    for manifest, path in bundles:
        table.add_row(manifest.name, str(manifest.version), manifest.description, str(path))
    Console().print(table)


@bundle.command("inspect")
def inspect(bundle: _Bundle, as_json: _Json = False) -> None:
    """Show what a bundle's manifest says: input, layers, calibration, provenance."""
    from driftprint.bundle import read_manifest
    from driftprint.bundle_files import SIGNATURE, file_names
    from driftprint.installed import find_bundle

    path = find_bundle(bundle)
    manifest = read_manifest(path)
    if as_json:
        print(manifest.model_dump_json(indent=2))
        return
    signed = SIGNATURE in file_names(path)
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    for name, value in _facts(manifest):
        table.add_row(name, value)
    table.add_row("signature", "present; `driftprint bundle verify --trusted FOLDER` checks it" if signed else "none")
    Console().print(table)


@bundle.command("verify")
def verify(
    bundle: _Bundle,
    trusted: Annotated[
        Path | None,
        typer.Option(help="A folder of public keys and authorities' certificates; one of them must have signed."),
    ] = None,
) -> None:
    """Check a bundle's files and replay its golden frames on this machine.

    Exit code 0 when every checksum holds and every golden frame gives the score that the exporter saw. With
    `--trusted` its signature must hold as well, and is checked before anything in the bundle is parsed: so a device
    would take it.
    """
    from driftprint.bundle import read_bundle
    from driftprint.installed import find_bundle
    from driftprint.keys import TrustedKeys
    from driftprint.scorer import Scorer

    loaded = read_bundle(find_bundle(bundle), trusted=TrustedKeys(trusted) if trusted else None)
    Scorer(loaded)
    print(f"{loaded.manifest.id}: checksums hold, {len(loaded.golden.frames)} golden frames score as exported")
    print(f"signed by {loaded.signed_by}" if loaded.signed_by else "signature not checked: --trusted FOLDER does that")


@bundle.command("keygen")
def keygen(key: Annotated[Path, typer.Argument(help="The file to write the private key to.")]) -> None:
    """Make a key to sign bundles with: KEY, readable by you alone, and its public half, KEY.pub.

    Keep KEY where bundles are signed, and nowhere else: whoever has it can give your devices any model. Copy KEY.pub
    into the folder of trusted keys of each device.
    """
    from driftprint.keys import make_key, public_file

    fingerprint = make_key(key)
    print(f"{key}: the private key; keep it secret")
    print(f"{public_file(key)}: the public key, for devices; sha256 {fingerprint}")


@bundle.command("sign")
def sign(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder or zip file.")],
    key: Annotated[Path, typer.Option(help="The private key, as `driftprint bundle keygen` makes it.")],
    certificate: Annotated[
        Path | None,
        typer.Option(help="The key's certificate for code signing, where devices trust its authority, not the key."),
    ] = None,
    chain: Annotated[
        list[Path] | None,
        typer.Option(help="A certificate between it and the authority that devices trust; repeatable."),
    ] = None,
) -> None:
    """Sign a bundle: its model, manifest and golden frames can then not be altered unnoticed.

    The signature becomes a file of the bundle, in place of one that is there. A damaged bundle is not signed.

    `driftprint bundle keygen parts.key`

    `driftprint bundle sign parts-1.driftprint --key parts.key`

    `driftprint bundle verify parts-1.driftprint --trusted keys/`, where `keys/` holds `parts.key.pub`
    """
    from driftprint.bundle import read_bundle
    from driftprint.errors import ConfigError
    from driftprint.signing import sign

    if chain and certificate is None:
        raise ConfigError("needs --certificate", where="--chain")
    manifest = read_bundle(bundle).manifest
    fingerprint = sign(bundle, key, certificate=certificate, chain=chain or ())
    print(f"{manifest.id}: signed with the key of sha256 {fingerprint}")


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    from driftprint.manifest import ImageInput
    from driftprint.stats.conformal import outlier_bound

    spec, fingerprint, calibration = manifest.input, manifest.fingerprint, manifest.calibration
    if isinstance(spec, ImageInput):
        eats = (
            f"{spec.colour.value} image {spec.height}x{spec.width}, {spec.fit.value}, {spec.layout.value} {spec.dtype}"
        )
    else:
        eats = f"tensor {list(spec.shape)} {spec.dtype}"
    n = len(calibration.scores)
    bound = f", inliers stay under an outlier ratio of {outlier_bound(n, 0.05):.3f} at alpha 0.05" if n >= 20 else ""
    return [
        ("bundle", manifest.id),
        ("description", manifest.description or "-"),
        ("input", f"{spec.name}: {eats}"),
        ("classes", f"{len(manifest.labels) or 'unnamed'}" if manifest.logits_output else "none"),
        ("fingerprint", _fingerprint(fingerprint)),
        ("layers", ", ".join(fingerprint.layers)),
        ("fitted on", f"{fingerprint.fitted_on} inliers, sha256 {manifest.training_data_sha256[:16]}..."),
        ("calibrated on", f"{n} inliers{bound}"),
        ("files", ", ".join(f"{name} ({entry.size / 1024:.0f} KiB)" for name, entry in manifest.files.items())),
        (
            "made by",
            f"driftprint {manifest.provenance.driftprint} from {manifest.provenance.source or 'an unnamed model'}",
        ),
    ]


def _fingerprint(fingerprint: Fingerprint) -> str:
    conditional = ", class-conditional" if fingerprint.class_conditional else ""
    return f"{fingerprint.method}{conditional}, layers joined by {fingerprint.combination}"
