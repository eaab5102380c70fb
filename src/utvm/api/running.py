"""Compiled models on boards: sessions, runs, and one run of a model file on an input file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.api.assembling import as_board
from utvm.api.compiling import Compiled, compile
from utvm.api.quantized import QuantizedModel
from utvm.api.sizes import Size
from utvm.api.stopwatch import Stopwatch
from utvm.arguments import checked_arguments
from utvm.boards import Board, LinkKind, require_trust
from utvm.codegen import ARENA_SYMBOL, RESET_MODEL_SYMBOL, RUN_SYMBOL
from utvm.device import DeviceError, LinkError, Measurement, Session, open_session
from utvm.emulators import QemuTarget, StandIn, emulator_target, get_assumption
from utvm.errors import UtvmError
from utvm.frontends.inputs import fit_array, read_network_inputs
from utvm.graph import Graph, Tensor
from utvm.notebook import html_table, shortened
from utvm.progress import end, say
from utvm.report import RunReport, records_used
from utvm.toolchain import default_cache_directory

_RUNS = 3
"""How often a run is tried that the debug link breaks."""

Inputs = NDArray[Any] | Sequence[NDArray[Any]] | Mapping[str, NDArray[Any]]
"""One array, one a model input in order, or by name."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """One run: outputs by name, and what the session measured. `seconds` are the host's, per stage.

    Example:
        result = utvm.Model(session, compiled).run(image)
        print(result.outputs["logits"], result.measurement.instructions)
    """

    outputs: Mapping[str, NDArray[Any]]
    measurement: Measurement
    seconds: Mapping[str, float]

    def __repr__(self) -> str:
        """A few lines, without the values."""
        outputs = ", ".join(f"{shortened(name)} {array.dtype}{list(array.shape)}" for name, array in self._first())
        return f"Result({outputs}; {len(self.outputs)} outputs,\n  {self.measurement!r})"

    def _repr_html_(self) -> str:
        """The outputs as a table, for notebooks."""
        counts = (("instructions", self.measurement.instructions), ("cycles", self.measurement.cycles))
        told = ", ".join(f"{'no' if count is None else f'{count:,}'} {name}" for name, count in counts)
        rows = [
            (name, f"{array.dtype}{list(array.shape)}", f"{array.min()} … {array.max()}" if array.size else "")
            for name, array in self.outputs.items()
        ]
        return html_table(f"{told} ({self.measurement.cycles_source})", ("output", "type", "values"), rows)

    def _first(self) -> list[tuple[str, NDArray[Any]]]:
        return list(self.outputs.items())[:3]


@checked_arguments
def connect(
    board: str | Path | Board,
    *,
    link: LinkKind | None = None,
    assume: str | None = None,
    trust_board: bool = False,
) -> Session:
    """Open a session with a board; close it with `with` or `close()`.

    Args:
        board: a board's name, the path of its TOML, or the board.
        link: which of the board's debug links to use; the one its TOML names if None.
        assume: what modelled cycles assume instead of zero-wait memory: a name in `utvm.emulators.assumptions()`.
        trust_board: whether the file at a path may name programs, which are run; see `load_board`.

    Raises:
        UtvmError: the board or its emulator can't be reached.

    Example:
        with utvm.connect("qemu-cortex-m7") as session:
            model = utvm.Model(session, compiled)
    """
    described = as_board(board, trust=trust_board)
    described = described if link is None else described.linked_by(link)
    assumption = None if assume is None else get_assumption(assume, described.core.name)
    target = emulator_target(described, cache_directory=default_cache_directory(), assume=assumption)
    return open_session(described, target)


def connect_stand_in(emulated: StandIn) -> Session:
    """Open a session with what takes a board's place where that is not at hand.

    Raises:
        EmulatorError: QEMU is not installed.
    """
    target = QemuTarget(emulated.board, cache_directory=default_cache_directory(), assume=emulated.assumption)
    return open_session(emulated.board, target)


class Model:
    """A compiled model in a session: loaded once, run as often as wanted; again after other code was loaded.

    Example:
        model = utvm.Model(session, compiled)
        probabilities = model.predict(image)  # float in, float out
        logits = model.run(image).outputs["logits"]  # as the network has them
    """

    def __init__(self, session: Session, compiled: Compiled) -> None:
        """Load the image; raises `UtvmError` if it is for another core, or can't be loaded or verified."""
        if not isinstance(session, Session) or not isinstance(compiled, Compiled):
            raise UtvmError("a model is of a session and a compiled network: utvm.Model(session, utvm.compile(...))")
        made_for, there = compiled.board, session.board
        if made_for.core.name != there.core.name:
            raise UtvmError(
                f"{compiled.program.name} is compiled for {made_for.name} ({made_for.core.name}), the session is with "
                f"{there.name} ({there.core.name}): compile it for '{there.name}'"
            )
        self.session = session
        self.compiled = compiled
        self._c_model = compiled.program.c_model()
        self._start()
        self.reset()

    def reset(self) -> None:
        """Forget all earlier runs: states get their first values. Nothing happens where a network has none.

        Raises:
            UtvmError: the call failed.
        """
        self._load()
        if self._c_model.states:
            self.session.call(RESET_MODEL_SYMBOL)
        self._is_lost = False

    def _load(self) -> bool:
        """Load the image where the session holds another, or where RAM lost the state; returns whether it did."""
        is_kept = not self._c_model.states or self._fresh_starts == self.session.fresh_starts
        if is_kept and self.session.holds(self.compiled.image):
            return False
        self._start()
        return True

    def _start(self) -> None:
        """Load the image; the state is lost, also where that fails."""
        self._is_lost = True
        self.session.load(self.compiled.image)
        self._fresh_starts = self.session.fresh_starts

    def run(self, inputs: Inputs, *, timeout: float | None = None) -> Result:
        """Run once.

        Args:
            inputs: one array, one a model input in order, or by name. An int8 or uint8 input takes floats too, which
                are quantised by its scale and zero point, and pixels, uint8, where its zero point is -128.
            timeout: seconds the target may take; the session's default if None.

        Raises:
            UtvmError: an input does not fit, or the call failed (fault, time-out, lost link); the session stays usable.
                A run that the debug link broke is tried again first, but not one of a network that keeps state: that
                is lost, and starts from its first values.
        """
        if self._c_model.states:
            return self._run_on(inputs, timeout)
        for _ in range(_RUNS - 1):
            with suppress(LinkError):
                return self._run(inputs, timeout)
        return self._run(inputs, timeout)

    def predict(self, inputs: Inputs, *, timeout: float | None = None) -> NDArray[Any] | dict[str, NDArray[Any]]:
        """Run once, real numbers in and out.

        Args:
            inputs: as in `run`: floats are quantised by each input's scale and zero point.
            timeout: as in `run`.

        Returns:
            The output as float32, scale * (q - zero_point), in the model's shape; by name if there are several. What
            has no quantisation comes as it is.

        Raises:
            UtvmError: as in `run`.
        """
        outputs = self.run(inputs, timeout=timeout).outputs
        real = {port.tensor.name: _real(outputs[port.tensor.name], port.tensor) for port in self._c_model.outputs}
        return next(iter(real.values())) if len(real) == 1 else real

    def __repr__(self) -> str:
        """A few lines: the network and the session."""
        return f"Model({self.compiled!r},\n  {self.session!r})"

    def _run_on(self, inputs: Inputs, timeout: float | None) -> Result:
        """Run once from what the last run left; after a run that did not end, from the first values."""
        arrays, is_told = self._arrays(inputs), self._is_lost
        try:
            is_kept = not self._load() and not is_told
            if not is_kept:
                self.reset()
            if is_kept or is_told:
                self._is_lost = True
                result = self._run(arrays, timeout)
                self._is_lost = False
                return result
        except DeviceError as error:
            error.args = (f"{error}; the network's state is lost: it starts from its first values", *error.args[1:])
            raise
        raise UtvmError(
            "the session was given other code, or repaired itself, since the last run, so the network's state is lost: "
            "it starts from its first values (give each network that keeps state a session of its own)"
        )

    def _run(self, inputs: Inputs, timeout: float | None) -> Result:
        watch = Stopwatch()
        with watch.stage("write"):
            self.write_inputs(inputs)
        say("running the network")
        with watch.stage("run"):
            measurement = self.session.call(RUN_SYMBOL, timeout=timeout)
        end()
        with watch.stage("read"):
            outputs = {}
            for port in self._c_model.outputs:
                raw = self.session.read(ARENA_SYMBOL, port.tensor.nbytes, offset=port.offset)
                outputs[port.tensor.name] = np.frombuffer(raw, dtype=port.tensor.dtype.value).reshape(port.tensor.shape)
        return Result(outputs=outputs, measurement=measurement, seconds=watch.seconds)

    def write_inputs(self, inputs: Inputs) -> None:
        """Write the inputs into the arena; see `run`."""
        self._load()
        for port, array in zip(self._c_model.inputs, self._arrays(inputs), strict=True):
            self.session.write(ARENA_SYMBOL, array.tobytes(), offset=port.offset)

    def _arrays(self, inputs: Inputs) -> list[NDArray[Any]]:
        """Return the inputs in their order, as the model takes them."""
        given = zip(self._given(inputs), self._c_model.inputs, strict=True)
        return [fit_array(array, port.tensor) for array, port in given]

    def _given(self, inputs: Inputs) -> list[NDArray[Any]]:
        names = [port.tensor.name for port in self._c_model.inputs]
        if isinstance(inputs, Mapping):
            missing = [name for name in names if name not in inputs]
            if missing:
                raise UtvmError(f"no value for the inputs {', '.join(missing)}; the model takes {', '.join(names)}")
            return [_as_array(inputs[name]) for name in names]
        if not isinstance(inputs, np.ndarray | Sequence) or isinstance(inputs, str | bytes):
            raise UtvmError(f"a {type(inputs).__name__} is no input: give an array, one a model input, or by name")
        arrays = [inputs] if isinstance(inputs, np.ndarray) else [_as_array(value) for value in inputs]
        if len(arrays) != len(names):
            raise UtvmError(f"the model takes {len(names)} inputs ({', '.join(names)}), got {len(arrays)}")
        return arrays


def _as_array(value: Any) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise UtvmError("an input has rows of different lengths: give arrays") from error


def _real(array: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Return the real numbers of an output's elements; as they are without quantisation."""
    if tensor.quant is None:
        return array
    return ((array.astype(np.float64) - tensor.zero_point) * tensor.scale).astype(np.float32)


@checked_arguments
def run_once(
    model: str | Path | Graph | QuantizedModel,
    board: str | Path | Board,
    input_file: str | Path,
    *,
    small: bool = False,
    flash: Size | None = None,
    ram: Size | None = None,
    assume: str | None = None,
    records: str | Path | None = None,
    link: LinkKind | None = None,
    dump: str | Path | None = None,
    timeout: float | None = None,
) -> RunReport:
    """Compile a model, run it once on a board on an input file, and return outputs and cost.

    Args:
        model: a model file, a graph, or what `utvm.quantize` made.
        board: a board's name, the path of its TOML, or the board.
        input_file: .npy, .npz (one array for each input name), or a picture.
        small, flash, ram, assume, records, dump: as in `compile`.
        link: as in `connect`.
        timeout: seconds that the run may take on the target; the session's default if None.

    Raises:
        UtvmError: any of it failed; the message says what to do.

    Example:
        report = utvm.run_once("model.tflite", "qemu-cortex-m7", "image.npy")
        print(report.outputs, report.cycles, report.cycles_source)
    """
    watch, target = Stopwatch(), as_board(board)
    require_trust(target)
    compiled = compile(model, target, small=small, flash=flash, ram=ram, assume=assume, records=records, dump=dump)
    watch.seconds.update(compiled.seconds)
    inputs = read_network_inputs(Path(input_file), compiled.program.graph)
    say(f"connecting to {compiled.board.name}")
    with watch.stage("connect"):
        session = connect(compiled.board, link=link, assume=assume)
    with session:
        with watch.stage("load"):
            loaded = Model(session, compiled)
        result = loaded.run(inputs, timeout=timeout)
        watch.seconds.update(result.seconds)
        stack_bytes = session.stack_used()
    return RunReport(
        model=compiled.program.name,
        board=compiled.board.name,
        tensors=compiled.program.graph.outputs,
        outputs=result.outputs,
        instructions=result.measurement.instructions,
        cycles=result.measurement.cycles,
        cycles_source=result.measurement.cycles_source,
        arena_bytes=compiled.program.arena_bytes,
        flash_bytes=compiled.image.flash_bytes,
        stack_bytes=stack_bytes,
        seconds=watch.seconds,
        records=records_used(compiled.program),
    )
