"""What a combination of kernels asks of the arena: storages of tensors, which may share or overlap, and scratch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from utvm.graph import Graph, Operator, Tensor
from utvm.kernels import Outline
from utvm.lowering.plan import Request
from utvm.lowering.views import Views


def requests_of(
    graph: Graph, views: Views, chosen: list[tuple[Operator, Outline]]
) -> tuple[list[Request], Mapping[Operator, Request]]:
    """Return one request for each storage, and one for the scratch of each operator that needs some."""
    root, last_use = views.root, views.last_use
    end = len(chosen)

    storages: dict[Tensor, _Storage] = {}
    for tensor in graph.inputs:
        storages[tensor] = _Storage([tensor], -1, last_use.get(tensor, -1))
    for state in graph.states:
        storages[state.before] = _Storage([state.before], -1, end, is_state=True)
    for position, (op, kernel) in enumerate(chosen):
        held = {t: storages.get(root(t)) if views.is_whole(t) else None for t in op.activations}
        held = {t: None if _read_otherwise(op, t, root) else storage for t, storage in held.items()}
        host = _in_place_host(op, kernel, position, held)
        for output in op.outputs:
            last = last_use[root(output)]
            if root(output) is not output:  # a part of what several operators write together
                storages.setdefault(root(output), _Storage([root(output)], position, last))
            elif host is not None:
                host.tensors.append(output)
                host.last = last
                storages[output] = host
            else:
                under = _under(op, kernel, position, held[op.activations[0]] if op.activations else None)
                storages[output] = _Storage([output], position, last, over=under, ahead=kernel.ahead or 0)
    for view in views.tensors:
        storages[root(view)].tensors.append(view)

    requests: dict[int, Request] = {}
    for storage in storages.values():
        if id(storage) not in requests:
            requests[id(storage)] = Request(
                label=storage.tensors[0].name,
                nbytes=max(t.nbytes for t in storage.tensors),
                first=storage.first,
                last=storage.last,
                tensors=tuple(storage.tensors),
                places={t: start for t in storage.tensors if (start := views.offset(t))},
                over=None if storage.over is None else requests[id(storage.over)],
                ahead=storage.ahead,
                is_state=storage.is_state,
            )
    scratch = {
        op: Request(label=f"{op.name} scratch", nbytes=kernel.scratch_bytes, first=position, last=position)
        for position, (op, kernel) in enumerate(chosen)
        if kernel.scratch_bytes
    }
    return list(requests.values()), scratch


@dataclass(slots=True)
class _Storage:
    """Tensors that share memory, from the call that first writes it to the last that reads it."""

    tensors: list[Tensor]
    first: int
    last: int
    over: _Storage | None = None
    ahead: int = 0
    is_state: bool = False


def _read_otherwise(op: Operator, tensor: Tensor, root: Callable[[Tensor], Tensor]) -> bool:
    """Whether `op` reads the memory of one input through another too, at places that a kernel's promises don't tell."""
    return any(other is not tensor and root(other) is root(tensor) for other in op.activations)


def _under(op: Operator, kernel: Outline, position: int, storage: _Storage | None) -> _Storage | None:
    """Return the storage of the first input if it dies here and the output may lie over it."""
    if kernel.ahead is None or len(op.outputs) != 1 or storage is None or storage.last != position:
        return None
    if op.activations.count(op.activations[0]) > 1:  # how far ahead is told of one reading
        return None
    return storage


def _in_place_host(
    op: Operator, kernel: Outline, position: int, storages: Mapping[Tensor, _Storage | None]
) -> _Storage | None:
    """Return the storage of an input that dies here and whose place the output may take."""
    if len(op.outputs) != 1:
        return None
    for candidate in kernel.in_place:
        tensor = op.activations[candidate]
        storage = storages[tensor]
        readings = {place for place, each in enumerate(op.activations) if each is tensor}
        if storage is None or storage.last != position or not readings <= set(kernel.in_place):
            continue
        if tensor.nbytes >= op.outputs[0].nbytes:
            return storage
    return None
