"""Files of torch.export.save (.pt2) without PyTorch: an archive of JSON and of raw numbers. Pickles are never opened.

Source: torch/export/pt2_archive (constants.py, _package.py) and torch/_export/serde/schema.py of PyTorch 2.9 and newer.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.archives import BROKEN, ArchiveError, opened
from utvm.frontends.errors import FrontendError
from utvm.frontends.torch_program import Ref, TorchCall, TorchProgram
from utvm.graph.names import printable

MAX_BYTES = 256 * 1024 * 1024
"""Of all parts of a file that are read, unpacked."""
MAX_JSON_BYTES = 32 * 1024 * 1024
"""Of all parts of a file that are JSON: as values they take some twenty times as much."""
MAX_CALLS = 20_000

_TYPES: Mapping[int, str] = {
    **{1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64"},
    **{6: "float16", 7: "float32", 8: "float64", 12: "bool", 13: "bfloat16"},
}
"""Number of a type (torch/_export/serde/schema.py, ScalarType) → its name."""
_OLDER = (
    "Load it where you trust it, with the PyTorch that wrote it, and save it anew with PyTorch 2.9 or newer: "
    "`torch.export.save(torch.export.load(FILE), NEW)`; or give the program itself: utvm.compile(program, board, "
    "data=samples)."
)
_AGAIN = "Export the network anew: `torch.export.save(torch.export.export(module.eval(), (example,)), FILE)`."


def read_pt2(path: Path) -> TorchProgram:
    """Read a program.

    Raises:
        FrontendError: the file is damaged, of an older form, or keeps numbers as pickles.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(archive, path.name).read()
    except ArchiveError as error:
        raise FrontendError(path.name, [str(error)], advice=[_AGAIN]) from error
    except zipfile.BadZipFile as error:
        problem = "this is no archive of torch.export.save, or it is damaged"
        raise FrontendError(path.name, [problem], advice=[_AGAIN]) from error
    except (*BROKEN, IndexError) as error:
        problem = f"the program is damaged or of another form ({type(error).__name__})"
        raise FrontendError(path.name, [problem], advice=[_AGAIN]) from error


class _Reader:
    def __init__(self, archive: zipfile.ZipFile, source: str) -> None:
        self.archive = archive
        self.source = source
        self.left = MAX_BYTES
        self.json_left = MAX_JSON_BYTES
        self.parts: dict[str, zipfile.ZipInfo] = {}
        for item in archive.infolist():
            # Archives have one folder, of any name.
            self.parts[PurePosixPath(*PurePosixPath(item.filename).parts[1:]).as_posix()] = item

    def read(self) -> TorchProgram:
        models = [name for name in self.parts if name.startswith("models/") and name.endswith(".json")]
        if not models:
            older = any(name.startswith("serialized_") for name in (i.filename for i in self.archive.infolist()))
            what = "this program is of an older form, whose numbers are pickles" if older else "it has no program"
            raise FrontendError(self.source, [what], advice=[_OLDER])
        if len(models) > 1:
            raise FrontendError(self.source, [f"it has {len(models)} programs; one is expected"], advice=[_AGAIN])
        if "byteorder" in self.parts and self._bytes("byteorder") != b"little":
            raise FrontendError(self.source, ["its numbers are big-endian"], advice=[_AGAIN])
        name = PurePosixPath(models[0]).stem
        module = self._json(models[0])["graph_module"]
        stored = {
            **self._numbers("data/weights/", f"{name}_weights_config.json"),
            **self._numbers("data/constants/", f"{name}_constants_config.json"),
        }
        graph = module["graph"]
        inputs: dict[str, tuple[tuple[int | str, ...], str]] = {}
        constants: dict[str, NDArray[Any]] = {}
        for spec in module["signature"]["input_specs"]:
            ((kind, value),) = spec.items()
            if kind == "user_input":
                made = value["arg"]["as_tensor"]["name"]
                meta = graph["tensor_values"][made]
                inputs[made] = tuple(_size(size) for size in meta["sizes"]), _TYPES.get(meta["dtype"], "unknown")
            elif kind in ("parameter", "buffer", "tensor_constant"):
                key = value[f"{kind}_name"]
                if key not in stored:
                    raise FrontendError(self.source, [f"the numbers of '{printable(key)}' are missing"])
                constants[value["arg"]["name"]] = stored[key]
            else:
                raise FrontendError(self.source, [f"it has an input that is no tensor ('{printable(kind)}')"])
        if len(graph["nodes"]) > MAX_CALLS:
            raise FrontendError(self.source, [f"it has more than {MAX_CALLS:,} operators"])
        return TorchProgram(
            inputs=inputs,
            constants=constants,
            calls=tuple(_call(node) for node in graph["nodes"]),
            outputs=tuple(_output(value) for value in graph["outputs"]),
        )

    def _bytes(self, name: str) -> bytes:
        item = self.parts[name]
        self.left -= item.file_size
        if self.left < 0:
            raise FrontendError(self.source, [f"it has more than {MAX_BYTES:,} bytes"])
        with opened(self.archive, item) as file:
            return file.read(item.file_size)

    def _json(self, name: str) -> Any:
        self.json_left -= self.parts[name].file_size
        if self.json_left < 0:
            raise FrontendError(self.source, [f"its program has more than {MAX_JSON_BYTES:,} bytes"])
        return json.loads(self._bytes(name))

    def _numbers(self, folder: str, config: str) -> dict[str, NDArray[Any]]:
        """Return tensors by name."""
        if folder + config not in self.parts:
            return {}
        found = {}
        for key, entry in self._json(folder + config)["config"].items():
            shown = printable(key)
            if entry["use_pickle"]:
                problem = f"'{shown}' is stored as a pickle, which may run code and is not opened"
                raise FrontendError(self.source, [problem], advice=[_AGAIN])
            meta = entry["tensor_meta"]
            shape, strides = (tuple(int(n["as_int"]) for n in meta[what]) for what in ("sizes", "strides"))
            offset = int(meta["storage_offset"]["as_int"])
            dtype = _TYPES.get(meta["dtype"])
            raw = self._bytes(folder + entry["path_name"])
            if dtype == "bfloat16":
                numbers = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
            elif dtype is None:
                raise FrontendError(self.source, [f"'{shown}' is of a type that is not known"], advice=[_AGAIN])
            else:
                numbers = np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).astype(dtype)
            last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
            elements = math.prod(int(n) for n in shape)
            fits = len(shape) <= 8 and offset >= 0 and min((*shape, *strides), default=1) >= 0
            if not fits or elements > numbers.size or (elements and last >= numbers.size):
                raise FrontendError(self.source, [f"'{shown}' claims more numbers than the file has"])
            steps = tuple(s * numbers.itemsize for s in strides)
            view = np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False)
            found[key] = np.array(view)
        return found


def _size(size: Mapping[str, Any]) -> int | str:
    return int(size["as_int"]) if "as_int" in size else "open"


def _output(value: Mapping[str, Any]) -> str | None:
    """Return the name of an output, None for one that is no tensor."""
    return str(value["as_tensor"]["name"]) if "as_tensor" in value else None


def _call(node: Mapping[str, Any]) -> TorchCall:
    args, kwargs = [], {}
    for argument in node["inputs"]:
        if argument.get("kind") == 2:
            kwargs[str(argument["name"])] = _value(argument["arg"])
        else:
            args.append(_value(argument["arg"]))
    outputs: list[str] = []
    for made in node["outputs"]:
        ((kind, value),) = made.items()
        several = value if kind == "as_tensors" else [value]
        outputs += [str(each.get("name", "")) if isinstance(each, dict) else "" for each in several]
    return TorchCall(
        name=str(node.get("name") or outputs[0]),
        kind=str(node["target"]).removeprefix("torch.ops."),
        args=tuple(args),
        kwargs=kwargs,
        outputs=tuple(outputs),
    )


def _value(argument: Mapping[str, Any]) -> Any:
    """Return an argument as a plain value."""
    ((kind, value),) = argument.items()
    if kind == "as_none":
        return None
    if kind == "as_tensor":
        return Ref(name=str(value["name"]))
    if kind in ("as_tensors", "as_optional_tensors"):
        return [_optional(each) for each in value]
    if kind == "as_scalar_type":
        return _TYPES.get(value, "unknown")
    if kind in ("as_int", "as_float", "as_bool", "as_string", "as_ints", "as_floats", "as_bools", "as_strings"):
        return float(value) if kind == "as_float" else value
    if kind in ("as_sym_int", "as_sym_ints"):
        each = [int(size["as_int"]) for size in (value if kind == "as_sym_ints" else [value])]
        return each if kind == "as_sym_ints" else each[0]
    return None


def _optional(value: Mapping[str, Any]) -> Ref | None:
    """Return an item of a list of tensors; in a list of optional ones each says whether it is there."""
    if "as_none" in value:
        return None
    return Ref(name=str(value.get("as_tensor", value)["name"]))
