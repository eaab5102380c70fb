"""The example that ships: its model file, its labels, and its reading of data."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import dataset
import numpy as np
import pytest
from dataset import CLASSES, DataError, load_test, load_training, split_validation
from evaluate import int8_accuracy
from PIL import Image
from tflite_file import write_tflite
from tflite_micro import runtime

from tests.support.shared import shared
from utvm.frontends import load

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cifar10"
MODEL = EXAMPLE / "cifar10_cnn.tflite"


def test_model_takes_an_int8_image_and_gives_ten_int8_logits() -> None:
    interpreter = runtime.Interpreter.from_file(str(MODEL))
    given, made = interpreter.get_input_details(0), interpreter.get_output_details(0)
    assert (tuple(given["shape"]), given["dtype"]) == ((1, 32, 32, 3), np.int8)
    assert (tuple(made["shape"]), made["dtype"]) == ((1, 10), np.int8)
    quantisation = given["quantization_parameters"]
    assert quantisation["zero_points"].tolist() == [-128]
    np.testing.assert_allclose(quantisation["scales"], [1 / 255], rtol=1e-6)


def test_labels_name_the_ten_classes_in_order() -> None:
    assert tuple((EXAMPLE / "labels.txt").read_text().splitlines()) == CLASSES


def test_model_read_and_written_again_has_the_same_bytes(tmp_path: Path) -> None:
    write_tflite(load(MODEL), tmp_path / "again.tflite")
    assert (tmp_path / "again.tflite").read_bytes() == MODEL.read_bytes()


def test_int8_accuracy_on_500_test_images() -> None:
    images = load_test(shared("data/cifar10/test_5000.npz"), cache=Path())
    assert int8_accuracy(MODEL, images.take(np.arange(500))) >= 0.77


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two images a class: image i of class c is filled with (c, i, 7)."""
    for number, name in enumerate(CLASSES):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (32, 32), (number, i, 7)).save(tmp_path / "train" / name / f"{i}.png")
    return tmp_path


def test_folder_and_archive_give_the_same_images(folder: Path) -> None:
    archive = folder / "images.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "train", "train")
    from_folder, from_archive = load_training(folder, folder), load_training(archive, folder)
    assert from_folder.labels.tolist() == [c for c in range(10) for _ in range(2)]
    assert from_folder.pixels[5, 31, 31].tolist() == [2, 1, 7]
    np.testing.assert_array_equal(from_archive.pixels, from_folder.pixels)
    np.testing.assert_array_equal(from_archive.labels, from_folder.labels)


def test_validation_images_are_held_out_of_each_class(folder: Path) -> None:
    training, validation = split_validation(load_training(folder, folder), per_class=1)
    assert training.labels.tolist() == validation.labels.tolist() == list(range(10))
    assert (training.pixels[..., 1] == 0).all()
    assert (validation.pixels[..., 1] == 1).all()


def test_official_archive_with_other_bytes_is_refused_before_it_is_unpickled(tmp_path: Path) -> None:
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    with pytest.raises(DataError, match=r"SHA-256 is .* expected 6d958be"):
        load_training(archive, tmp_path)


def test_damaged_files_are_named(folder: Path) -> None:
    archive = folder / "images.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "train", "train")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(DataError, match="is damaged"):
        load_training(archive, folder)
    (folder / "train" / "cat" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="'cat' is not an image"):
        load_training(folder, folder)


def test_official_archive_is_read_channels_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for number in range(1, 6):
            planes = np.repeat(np.array([number, 20, 30], np.uint8), 1024)[None]
            content = pickle.dumps({"data": planes, "labels": [number]})
            info = tarfile.TarInfo(f"cifar-10-batches-py/data_batch_{number}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    monkeypatch.setattr(dataset, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    images = load_training(archive, tmp_path)
    assert images.labels.tolist() == [1, 2, 3, 4, 5]
    assert images.pixels.shape == (5, 32, 32, 3)
    assert (images.pixels[3] == [4, 20, 30]).all()


@pytest.mark.parametrize("name", ["absent", "empty", "text.tar.gz"])
def test_unusable_data_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tar.gz").write_text("no archive")
    with pytest.raises(DataError, match=r"does not exist|no images|not a tar archive"):
        load_training(tmp_path / name, tmp_path)
