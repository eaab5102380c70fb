"""CIFAR-10 as numpy arrays: from the official archive (downloaded on demand) or from a folder of images.

Source: Alex Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_OFFICIAL_MEMBER = "cifar-10-batches-py/"

ByteArray = NDArray[np.uint8]


class DataError(Exception):
    """The data can't be found or read; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Labelled images: pixels uint8 [N, 32, 32, 3] (RGB), labels int64 [N] (indices into CLASSES)."""

    pixels: ByteArray
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Images:
        """Return the images at `indices`."""
        return Images(pixels=self.pixels[indices], labels=self.labels[indices])


def load_training(data: Path | None, cache: Path) -> Images:
    """Return the 50,000 training images.

    `data` is the official archive, a folder with one folder of images per class (or with `train/` holding
    those), or a .tar.gz of such a folder. Without it the official archive is downloaded to `cache` once.

    Raises:
        DataError: nothing usable there, a wrong checksum, or no network.
    """
    if data is None:
        return _read_official(_download(cache), tuple(f"data_batch_{n}" for n in range(1, 6)))
    if data.is_dir():
        files = sorted(p for p in data.rglob("*") if p.is_file())
        return _from_files((p.parent.name, p.read_bytes()) for p in files if p.parent.name in CLASSES)
    if not data.is_file():
        raise DataError(f"{data} does not exist; give a folder or archive, or leave --data out to download")
    if _is_official(data):
        return _read_official(data, tuple(f"data_batch_{n}" for n in range(1, 6)))
    return _from_files(_members(data))


def load_test(data: Path | None, cache: Path) -> Images:
    """Return test images: from an .npz with `images` and `labels`, or the official archive's 10,000.

    Raises:
        DataError: as `load_training`.
    """
    if data is not None and data.suffix == ".npz":
        with np.load(data) as arrays:
            return Images(pixels=arrays["images"], labels=arrays["labels"].astype(np.int64))
    archive = _download(cache) if data is None else data
    return _read_official(archive, ("test_batch",))


def split_validation(images: Images, per_class: int = 250) -> tuple[Images, Images]:
    """Return (training, validation): the last `per_class` images of each class are held out."""
    held_out = np.concatenate([np.flatnonzero(images.labels == c)[-per_class:] for c in range(len(CLASSES))])
    kept = np.setdiff1d(np.arange(len(images)), held_out)
    return images.take(kept), images.take(held_out)


def _download(cache: Path) -> Path:
    target = cache / URL.rsplit("/", 1)[1]
    if target.is_file():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    print(f"downloading {URL} (163 MB) to {target}")
    try:
        with urllib.request.urlopen(URL, timeout=60) as response, partial.open("wb") as out:
            while chunk := response.read(1 << 20):
                out.write(chunk)
    except OSError as error:
        raise DataError(f"download of {URL} failed ({error}); fetch it by hand and pass it as --data") from error
    return partial.rename(target)


def _read_official(archive: Path, batches: tuple[str, ...]) -> Images:
    content = archive.read_bytes()
    # The batches are pickles: never open ones that are not the known bytes.
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise DataError(f"{archive}: SHA-256 is {found}, expected {SHA256}; delete the file and download it again")
    pixels, labels = [], []
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for batch in batches:
            member = tar.extractfile(_OFFICIAL_MEMBER + batch)
            if member is None:
                raise DataError(f"{archive}: '{batch}' is not a file")
            entry = pickle.load(member, encoding="latin1")
            pixels.append(np.asarray(entry["data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
            labels.append(np.asarray(entry["labels"], np.int64))
    return Images(pixels=np.ascontiguousarray(np.concatenate(pixels)), labels=np.concatenate(labels))


def _is_official(archive: Path) -> bool:
    try:
        with tarfile.open(archive) as tar:
            first = tar.next()
    except tarfile.TarError as error:
        raise DataError(f"{archive} is not a tar archive ({error})") from error
    return first is not None and f"{first.name}/".startswith(_OFFICIAL_MEMBER)


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    found: list[tuple[str, str, bytes]] = []
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                folder = Path(member.name).parent.name
                file = tar.extractfile(member) if member.isfile() and folder in CLASSES else None
                if file is not None:
                    found.append((member.name, folder, file.read()))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{archive} is damaged ({error}); get it again") from error
    for _, folder, content in sorted(found):
        yield folder, content


def _from_files(files: Iterator[tuple[str, bytes]]) -> Images:
    pixels, labels = [], []
    for folder, content in files:
        try:
            image = Image.open(io.BytesIO(content)).convert("RGB")
        except OSError as error:
            raise DataError(f"a file of class '{folder}' is not an image ({error}); remove it") from error
        if image.size != (32, 32):
            raise DataError(f"an image of class '{folder}' is {image.size[0]}x{image.size[1]}, expected 32x32")
        pixels.append(np.asarray(image, np.uint8))
        labels.append(CLASSES.index(folder))
    if not labels:
        raise DataError(f"no images: expected one folder for each of {', '.join(CLASSES)}")
    return Images(pixels=np.stack(pixels), labels=np.array(labels, np.int64))
