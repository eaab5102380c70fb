"""PyTorch: a program of torch.export → Graph in float32.

Programs come as objects. No file of PyTorch is opened here: its readers fall back to pickle, which runs code.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from utvm.frontends.builder import GraphBuilder
from utvm.frontends.errors import FrontendError
from utvm.frontends.problems import Problems
from utvm.frontends.refusal import RefusedError
from utvm.frontends.torch_layers import CONVERTERS, TorchNode, Value
from utvm.graph import Graph, GraphError, Tensor


def exported_graph(program: Any, *, name: str = "model") -> Graph:
    """Return the graph of a `torch.export.ExportedProgram`.

    Raises:
        FrontendError: with every problem found: node, reason.
    """
    return _Importer(program, name).graph()


def exported_module(module: Any, example_inputs: tuple[Any, ...]) -> Any:
    """Return a module in evaluation mode as a `torch.export.ExportedProgram`.

    Raises:
        FrontendError: it can't be traced.
    """
    import torch

    was_training = module.training
    try:
        return torch.export.export(module.eval(), tuple(example_inputs))
    except Exception as error:
        advice = ["Give a module without branches on data, and example inputs of one sample each."]
        text = str(error).split("\n")[0][:200]
        raise FrontendError(type(module).__name__, [f"torch.export fails: {text}"], advice=advice) from error
    finally:
        module.train(was_training)


class _Importer:
    def __init__(self, program: Any, name: str) -> None:
        self.program = program
        self.name = name
        self.builder = GraphBuilder(name)
        self.problems = Problems()
        self.values: dict[str, Value] = {}

    def graph(self) -> Graph:
        self._ports()
        outputs: list[tuple[str, Tensor]] = []
        for index, node in enumerate(self.program.graph.nodes):
            if node.op == "call_function":
                self._convert(index, node)
            elif node.op == "output":
                made = [self.values.get(arg.name) for arg in node.args[0] if arg is not None]
                outputs = [(f"output_{i}", value) for i, value in enumerate(made) if isinstance(value, Tensor)]
                if len(outputs) != len(made) and not self.problems.texts:
                    self.problems.of_file("an output does not depend on the inputs")
        if self.problems.texts:
            raise FrontendError(self.name, self.problems.texts, advice=self.problems.advice)
        try:
            return self.builder.graph(outputs)
        except GraphError as error:
            raise FrontendError(self.name, [str(error)]) from error

    def _ports(self) -> None:
        """Make inputs of the graph and constants known."""
        signature = self.program.graph_signature
        named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        lifted = signature.inputs_to_lifted_tensor_constants
        state, constants = self.program.state_dict, self.program.constants
        for node in self.program.graph.nodes:
            if node.op != "placeholder":
                continue
            if node.name in named or node.name in lifted:
                key = named.get(node.name) or lifted[node.name]
                tensor = state[key] if key in state else constants[key]
                self.values[node.name] = tensor.detach().cpu().numpy()
                continue
            shape = tuple(node.meta["val"].shape)
            if any(not isinstance(size, int) for size in shape):
                self.problems.of_file(
                    f"input '{node.name}' has open dimensions {list(map(str, shape))}: export it without"
                )
                continue
            dtype = str(node.meta["val"].dtype).removeprefix("torch.")
            if dtype != "float32":
                self.problems.of_file(f"input '{node.name}' is {dtype}, float32 is expected")
                continue
            try:
                self.values[node.name] = self.builder.input(node.name, shape)
            except RefusedError as reason:
                self.problems.of_file(f"input '{node.name}': {reason}")

    def _convert(self, index: int, node: Any) -> None:
        kind = str(node.target).removeprefix("aten.")
        if any(arg.name not in self.values for arg in node.all_input_nodes):
            return
        self.builder.place = node.name
        try:
            convert = CONVERTERS.get(kind.partition(".")[0])
            if convert is None:
                raise RefusedError("this operator is not supported", "Write the module with other operators.")
            # What is not finite is refused by name.
            with np.errstate(all="ignore"):
                self.values[node.name] = convert(TorchNode(node, self.builder, self.values))
        except RefusedError as reason:
            self.problems.of_operator(index, kind, str(reason), reason.advice)
        except Exception as error:
            self.problems.of_operator(index, kind, f"its arguments are not understood ({type(error).__name__})")
