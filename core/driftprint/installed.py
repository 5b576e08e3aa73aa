"""The reference bundles that come with the install, and how a bundle is named on the command line."""

from __future__ import annotations

from pathlib import Path

from driftprint.bundle import SUFFIX, read_manifest
from driftprint.errors import BundleError
from driftprint.manifest import Manifest

REFERENCE = Path(__file__).parent / "reference"
"""The folder with the reference bundles."""


def reference_bundles(folder: Path = REFERENCE) -> list[tuple[Manifest, Path]]:
    """The reference bundles with their paths, by name and then version."""
    bundles = [(read_manifest(path), path.resolve()) for path in folder.glob(f"*{SUFFIX}")]
    return sorted(bundles, key=lambda bundle: (bundle[0].name, bundle[0].version))


def find_bundle(name: str | Path, folder: Path = REFERENCE) -> Path:
    """A bundle's path.

    Args:
        name: a path, or the name of a reference bundle (``digits``, the latest version, or ``digits-1``).
        folder: where the reference bundles are.

    Raises:
        BundleError: where there is no such bundle, naming those installed.
    """
    path = Path(name)
    if path.exists():
        return path
    bundles = reference_bundles(folder)
    matching = [found for manifest, found in bundles if str(name) in (manifest.name, manifest.id)]
    if not matching:
        known = ", ".join(manifest.id for manifest, _ in bundles) or "none"
        raise BundleError("no such bundle", where=str(name), fix=f"give a path, or a reference bundle ({known})")
    return matching[-1]
