"""2,000 truncated and mutated model files: each loads or gives our error, quickly and in little memory."""

import random
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.shared import SHARED
from utvm.errors import UtvmError
from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.context import OPERATOR_ADVICE
from utvm.graph import Graph

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"
FILES = 2000
SECONDS_EACH = 10.0
"""Of this process alone: what other programs take of the machine does not count."""
MEMORY_GROWTH_KB = 1 << 20
VALUES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FC00000, 0xFF800000, 0x10000, 0xFFFF, 3, 255)


def originals() -> list[bytes]:
    paths = [EXAMPLE]
    if SHARED is not None:
        folder = SHARED / "models" / "mlperf_tiny"
        paths += [folder / "kws_dscnn_int8.tflite", folder / "sww_conv1d_int8.tflite"]
    return [path.read_bytes() for path in paths]


def damaged(generator: random.Random, data: bytes) -> bytes:
    """Cut a file, or change some of it; tables lie at the end and at the start, weights between them."""
    kind = generator.randrange(6)
    if kind == 0:
        return data[: generator.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(generator.choice([1, 1, 2, 5, 30])):
        place = place_in(generator, len(data))
        if kind == 1:
            changed[place] ^= 1 << generator.randrange(8)
        elif kind == 2:
            word = place // 4 * 4
            changed[word : word + 4] = struct.pack("<I", generator.choice(VALUES))
        elif kind == 3:
            size = generator.randrange(1, 200)
            changed[place : place + size] = bytes(size)
        elif kind == 4:
            size, other = generator.randrange(1, 64), place_in(generator, len(data))
            changed[place : place + size] = changed[other : other + size]
        else:
            changed[place] = generator.randrange(256)
    return bytes(changed)


def place_in(generator: random.Random, size: int) -> int:
    near = min(size, 12000)
    return generator.choice(
        [generator.randrange(near), size - 1 - generator.randrange(near), generator.randrange(size)]
    )


def load_all(seed: int, count: int) -> tuple[int, int]:
    """Load damaged files; returns how many loaded and how many were refused."""
    generator, sources = random.Random(seed), originals()
    loaded = refused = 0
    for number in range(count):
        data = damaged(generator, sources[number % len(sources)])
        start = time.process_time()
        try:
            graph = load_tflite(data, name="damaged")
        except FrontendError as error:
            refused += bool(error.problems)
        else:
            loaded += 1
            assert isinstance(graph, Graph)
        assert time.process_time() - start < SECONDS_EACH, f"file {number} of seed {seed}"
    return loaded, refused


def test_two_thousand_damaged_files() -> None:
    """In a process of its own, so that its memory can be measured."""
    code = (
        "import resource\n"
        "from tests.frontends import test_damaged_files as t\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"loaded, refused = t.load_all(20191205, {FILES})\n"
        "print(loaded, refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root, preexec_fn=limit_memory
    )
    assert done.returncode == 0, done.stderr[-3000:]
    loaded, refused, growth = map(int, done.stdout.split())
    assert loaded + refused == FILES
    assert loaded > FILES // 20
    assert refused > FILES // 4
    assert growth < MEMORY_GROWTH_KB


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))


def test_one_error_lists_every_problem() -> None:
    """Operators that we lack, in one file, are one problem: named once, with their positions and what to do."""
    import tflite

    data = bytearray(EXAMPLE.read_bytes())
    model = tflite.Model.GetRootAs(bytes(data), 0)
    for index in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(index)
        for slot in (4, 10):  # deprecated_builtin_code, builtin_code
            offset = code._tab.Offset(slot)
            if offset:
                data[code._tab.Pos + offset] = tflite.BuiltinOperator.COS
    with pytest.raises(FrontendError) as caught:
        load_tflite(bytes(data), name="changed")
    assert [" operators COS (0, 1, 2, 3, 4, ...): " in problem for problem in caught.value.problems] == [True]
    assert caught.value.advice == (OPERATOR_ADVICE,)


@pytest.mark.parametrize("data", [b"", b"TFL3", b"not a model at all, but long enough to look", bytes(64)])
def test_what_is_no_model(data: bytes) -> None:
    with pytest.raises(FrontendError, match=r"not a TFLite file|damaged"):
        load_tflite(data, name="nothing")


def test_a_missing_file_is_one_error(tmp_path: Path) -> None:
    from utvm.frontends import load

    with pytest.raises(UtvmError, match="no such file"):
        load(tmp_path / "absent.tflite")
