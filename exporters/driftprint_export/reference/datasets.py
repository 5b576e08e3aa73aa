"""The public data sets that the reference models and the benchmarks use.

A data set comes from the folder that DRIFTPRINT_DATA names, as ``NAME.npz`` (arrays ``x_train``, ``y_train``,
``x_test``, ``y_test``) or as its publisher's files. Otherwise these are downloaded once, checked, and kept in the
user's cache. Colour images then go through JPEG coding, as a camera's do, so that all of them carry the same traces
of it; arrays are taken as they are. The set "digits", a part of MNIST, comes with a package.
"""

from __future__ import annotations

import gzip
import os
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
from numpy.typing import NDArray

from driftprint.digits import Part, load_digits
from driftprint.errors import DataError
from driftprint_export.reference.coding import as_jpeg

FOLDER_VARIABLE = "DRIFTPRINT_DATA"

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class DataSet:
    """Images and their labels.

    Attributes:
        name: for people and tables.
        x_train: uint8 [N, H, W] or [N, H, W, 3].
        y_train: uint8 [N].
        x_test: as `x_train`; no image is in both.
        y_test: as `y_train`.
        calibrating: how many of the test images fingerprints may be calibrated on, the first ones.
    """

    name: str
    x_train: Images
    y_train: Images
    x_test: Images
    y_test: Images
    calibrating: int

    @property
    def calibration(self) -> Images:
        """The test images that fingerprints may be calibrated on."""
        return self.x_test[: self.calibrating]

    @property
    def fresh(self) -> Images:
        """The others: no model, fingerprint or calibration has seen these."""
        return self.x_test[self.calibrating :]

    def some(self, most: int, random: np.random.Generator) -> NDArray[np.intp]:
        """Which training images to take where fewer will do: row numbers, drawn, as files may be sorted by class."""
        return random.permutation(len(self.x_train))[:most]

    def unseen(self) -> NDArray[np.intp]:
        """Which of the `fresh` images are in no other part, not even as a copy: row numbers."""
        known = {image.tobytes() for images in (self.x_train, self.calibration) for image in images}
        return np.flatnonzero([image.tobytes() not in known for image in self.fresh])


@dataclass(frozen=True)
class Published:
    """Where a data set comes from.

    Attributes:
        url: of the folder that holds the files.
        files: their names and MD5 sums, as published.
        read: makes the arrays of the files in a folder.
    """

    url: str
    files: dict[str, str]
    read: Callable[[Path], tuple[Images, Images, Images, Images]]


def load(name: str, *, folder: Path | None = None) -> DataSet:
    """Load a data set, downloading it where it is nowhere to be found.

    Args:
        name: "digits", or one of `SOURCES`.
        folder: where to look; without it where DRIFTPRINT_DATA says, else the user's cache.

    Raises:
        DataError: where it is not in a folder that was named, or cannot be downloaded.
    """
    if name == "digits":
        return _packaged_digits()
    source = SOURCES[name]
    if folder is None and FOLDER_VARIABLE in os.environ:
        folder = Path(os.environ[FOLDER_VARIABLE])
    if folder is None:
        folder = download(name, source)
    elif (folder / f"{name}.npz").exists():
        with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
            return _halved(name, *(arrays[key] for key in ("x_train", "y_train", "x_test", "y_test")))
    missing = [file for file in source.files if not (folder / file).exists()]
    if missing:
        raise DataError(
            f"neither {name}.npz nor {', '.join(missing)} is there",
            where=str(folder),
            fix=f"get them from {source.url}, or unset {FOLDER_VARIABLE} to have them downloaded",
        )
    return _halved(name, *source.read(folder))


def _halved(name: str, x_train: Images, y_train: Images, x_test: Images, y_test: Images) -> DataSet:
    """Half of the test images are for calibration: any half, as some files are sorted by class."""
    order = np.random.default_rng(0).permutation(len(x_test))
    return DataSet(name, x_train, y_train, x_test[order], y_test[order], len(x_test) // 2)


def _packaged_digits() -> DataSet:
    train, calibration, fresh = (load_digits(part) for part in (Part.TRAIN, Part.CALIBRATION, Part.DEMO))
    return DataSet(
        "digits",
        train.frames,
        train.labels.astype(np.uint8),
        np.concatenate([calibration.frames, fresh.frames]),
        np.concatenate([calibration.labels, fresh.labels]).astype(np.uint8),
        len(calibration.frames),
    )


def download(name: str, source: Published, *, cache: Path | None = None) -> Path:
    """Fetch a data set's files, unless they are there; returns their folder.

    Args:
        name: of the data set.
        source: where its files are.
        cache: where to put them; None for the user's cache.

    Raises:
        DataError: where the network or the publisher refuses, or a file is not what was published.
    """
    folder = (cache or Path(pooch.os_cache("driftprint"))) / name
    for file, digest in source.files.items():
        try:
            pooch.retrieve(source.url + file, f"md5:{digest}", fname=file, path=folder, progressbar=True)
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot be downloaded ({error})",
                where=source.url + file,
                fix=f"put the file into a folder and name that in {FOLDER_VARIABLE}",
            ) from None
    return folder


def _read_idx(folder: Path) -> tuple[Images, Images, Images, Images]:
    """MNIST's own format: a head of big-endian numbers, then bytes."""

    def images(name: str) -> Images:
        return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)

    def labels(name: str) -> Images:
        return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=8)

    return (
        images("train-images-idx3-ubyte.gz"),
        labels("train-labels-idx1-ubyte.gz"),
        images("t10k-images-idx3-ubyte.gz"),
        labels("t10k-labels-idx1-ubyte.gz"),
    )


def _read_cifar10(folder: Path) -> tuple[Images, Images, Images, Images]:
    images, labels = [], []
    with tarfile.open(folder / "cifar-10-python.tar.gz") as archive:
        for part in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
            member = archive.extractfile(f"cifar-10-batches-py/{part}")
            if member is None:
                raise DataError(f"{part} is missing", where=str(folder / "cifar-10-python.tar.gz"))
            # A pickle, as published; the file's checksum says that it is the publisher's.
            batch = pickle.load(member, encoding="bytes")
            images.append(np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
            labels.append(np.asarray(batch[b"labels"], np.uint8))
    return as_jpeg(np.concatenate(images[:5])), np.concatenate(labels[:5]), as_jpeg(images[5]), labels[5]


def _read_svhn(folder: Path) -> tuple[Images, Images, Images, Images]:
    """The first 10,000 crops of the official test split: 7,000 to train on and 3,000 to test with."""
    from scipy.io import loadmat

    crops = loadmat(folder / "test_32x32.mat")
    images = as_jpeg(np.ascontiguousarray(crops["X"].transpose(3, 0, 1, 2)[:10_000]))
    labels = (crops["y"].reshape(-1)[:10_000] % 10).astype(np.uint8)
    return images[:7_000], labels[:7_000], images[7_000:], labels[7_000:]


SOURCES = {
    "mnist": Published(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        _read_idx,
    ),
    "fashion_mnist": Published(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        _read_idx,
    ),
    "cifar10": Published(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"},
        _read_cifar10,
    ),
    "svhn": Published(
        "http://ufldl.stanford.edu/housenumbers/",
        {"test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3"},
        _read_svhn,
    ),
}
"""Every data set by its name."""
