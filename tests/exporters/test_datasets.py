"""Data sets: read as their publishers write them, or from plain arrays, and never mixed up."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import pickle
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from driftprint.errors import DataError
from driftprint_export.reference.coding import as_jpeg
from driftprint_export.reference.datasets import FOLDER_VARIABLE, SOURCES, Published, download, load

Images = NDArray[np.uint8]
RANDOM = np.random.default_rng(0)


def write_idx(folder: Path) -> dict[str, Images]:
    arrays = {}
    for part, count in (("train", 6), ("t10k", 4)):
        images, labels = RANDOM.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8)
        head = b"".join(value.to_bytes(4, "big") for value in (2051, count, 28, 28))
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(head[:8] + labels.tobytes()))
        arrays[part] = images
    return arrays


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnists_format_is_read(name: str, tmp_path: Path) -> None:
    arrays = write_idx(tmp_path)
    data = load(name, folder=tmp_path)
    assert np.array_equal(data.x_train, arrays["train"])
    assert np.array_equal(data.x_test, arrays["t10k"][data.y_test])
    assert sorted(data.y_test) == [0, 1, 2, 3]


def smooth(count: int) -> Images:
    """Pictures that JPEG changes little."""
    ramps = np.linspace(0, 200, 32)[None, :, None, None] + RANDOM.integers(0, 50, (count, 1, 1, 3))
    return np.broadcast_to(ramps, (count, 32, 32, 3)).astype(np.uint8)


def test_cifar10s_archive_is_read_and_coded_as_jpeg(tmp_path: Path) -> None:
    parts = {f"data_batch_{i}": smooth(2) for i in range(1, 6)} | {"test_batch": smooth(4)}
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        for name, images in parts.items():
            rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
            content = pickle.dumps({b"data": rows, b"labels": list(range(len(images)))})
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    data = load("cifar10", folder=tmp_path)
    assert data.x_train.shape == (10, 32, 32, 3)
    assert np.array_equal(data.x_test, as_jpeg(parts["test_batch"])[data.y_test])
    assert np.abs(data.x_test.astype(int) - parts["test_batch"][data.y_test]).mean() < 8
    assert list(data.y_train) == [0, 1] * 5


def test_svhns_crops_are_split_with_nought_as_a_digit(tmp_path: Path) -> None:
    images = np.broadcast_to(smooth(1), (10_000, 32, 32, 3))
    labels = np.resize([10, 1, 2], (10_000, 1))
    savemat(tmp_path / "test_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": labels}, do_compression=True)
    data = load("svhn", folder=tmp_path)
    assert (len(data.x_train), len(data.x_test)) == (7_000, 3_000)
    assert list(data.y_train[:3]) == [0, 1, 2]


def test_plain_arrays_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {"x_train": smooth(3), "x_test": smooth(4)}
    arrays |= {"y_train": np.zeros(3, np.uint8), "y_test": np.arange(4, dtype=np.uint8)}
    np.savez(tmp_path / "cifar10.npz", allow_pickle=False, **arrays)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    data = load("cifar10")
    assert np.array_equal(data.x_train, arrays["x_train"])
    assert np.array_equal(np.concatenate([data.calibration, data.fresh]), arrays["x_test"][data.y_test])
    assert len(data.calibration) == 2


def test_a_file_that_is_sorted_by_class_gives_halves_of_the_same_classes(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), 100)
    images = np.zeros((1_000, 28, 28), np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=images[:1], y_train=labels[:1], x_test=images, y_test=labels)
    data = load("mnist", folder=tmp_path)
    counts = np.bincount(data.y_test[: data.calibrating], minlength=10)
    assert (counts > 25).all()
    assert (counts < 75).all()


def test_what_is_missing_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz") as refusal:
        load("mnist", folder=tmp_path)
    assert "mnist.npz" in str(refusal.value)
    assert "https://" in str(refusal.value)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nobody needs to know."""


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[str]:
    """A web server with one file; gives its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "digits.bin").write_bytes(b"digits")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def published(address: str, digest: str) -> Published:
    return Published(address, {"digits.bin": digest}, SOURCES["mnist"].read)


def test_files_are_downloaded_once(publisher: str, tmp_path: Path) -> None:
    source = published(publisher, hashlib.md5(b"digits").hexdigest())
    folder = download("digits", source, cache=tmp_path / "cache")
    assert (folder / "digits.bin").read_bytes() == b"digits"
    (tmp_path / "served/digits.bin").unlink()
    assert download("digits", source, cache=tmp_path / "cache") == folder


def test_a_file_that_is_not_what_was_published_is_refused(publisher: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be downloaded"):
        download("digits", published(publisher, "0" * 32), cache=tmp_path / "cache")
    assert not (tmp_path / "cache/digits/digits.bin").exists()


def test_a_publisher_that_has_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=FOLDER_VARIABLE):
        download("digits", published("http://127.0.0.1:9/", "0" * 32), cache=tmp_path)
