"""Write docs/operators.md: the operators of tflite-micro's resolver, and what µTVM takes of each, from the code.

Usage: python -m scripts.operator_table > docs/operators.md
"""

from __future__ import annotations

from utvm.cores import CORES
from utvm.frontends.tflite_general import FLOAT_ALONE, GENERAL
from utvm.frontends.tflite_operators import CONVERTERS
from utvm.frontends.tflite_shapes import FOLDED
from utvm.graph.functions import FUNCTIONS, REDUCERS

RESOLVER = [
    "ABS",
    "ADD",
    "ADD_N",
    "ARG_MAX",
    "ARG_MIN",
    "ASSIGN_VARIABLE",
    "AVERAGE_POOL_2D",
    "BATCH_MATMUL",
    "BATCH_TO_SPACE_ND",
    "BROADCAST_ARGS",
    "BROADCAST_TO",
    "CALL_ONCE",
    "CAST",
    "CEIL",
    "CONCATENATION",
    "CONV_2D",
    "COS",
    "CUMSUM",
    "DEPTH_TO_SPACE",
    "DEPTHWISE_CONV_2D",
    "DEQUANTIZE",
    "DIV",
    "DYNAMIC_UPDATE_SLICE",
    "ELU",
    "EMBEDDING_LOOKUP",
    "EQUAL",
    "EXP",
    "EXPAND_DIMS",
    "FILL",
    "FLOOR",
    "FLOOR_DIV",
    "FLOOR_MOD",
    "FULLY_CONNECTED",
    "GATHER",
    "GATHER_ND",
    "GREATER",
    "GREATER_EQUAL",
    "HARD_SWISH",
    "IF",
    "L2_NORMALIZATION",
    "L2_POOL_2D",
    "LEAKY_RELU",
    "LESS",
    "LESS_EQUAL",
    "LOG",
    "LOG_SOFTMAX",
    "LOGICAL_AND",
    "LOGICAL_NOT",
    "LOGICAL_OR",
    "LOGISTIC",
    "MAX_POOL_2D",
    "MAXIMUM",
    "MEAN",
    "MINIMUM",
    "MIRROR_PAD",
    "MUL",
    "NEG",
    "NOT_EQUAL",
    "PACK",
    "PAD",
    "PADV2",
    "PRELU",
    "QUANTIZE",
    "READ_VARIABLE",
    "REDUCE_ALL",
    "REDUCE_MAX",
    "REDUCE_MIN",
    "RELU",
    "RELU6",
    "RESHAPE",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "REVERSE_V2",
    "ROUND",
    "RSQRT",
    "SELECT_V2",
    "SHAPE",
    "SIN",
    "SLICE",
    "SOFTMAX",
    "SPACE_TO_BATCH_ND",
    "SPACE_TO_DEPTH",
    "SPLIT",
    "SPLIT_V",
    "SQRT",
    "SQUARE",
    "SQUARED_DIFFERENCE",
    "SQUEEZE",
    "STRIDED_SLICE",
    "SUB",
    "SUM",
    "SVDF",
    "TANH",
    "TRANSPOSE",
    "TRANSPOSE_CONV",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "UNPACK",
    "VAR_HANDLE",
    "WHILE",
    "ZEROS_LIKE",
]
"""The builtin operators of tflite-micro's Python resolver (python_ops_resolver.cc, 2026-08)."""
_STATE = frozenset(
    ["ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "VAR_HANDLE"]
)
_FLOW = frozenset(("IF", "WHILE"))


def table() -> str:
    """Return the page."""
    rows = [f"| `{name}` | {_taken(name)} |" for name in RESOLVER]
    taken = sum(name in CONVERTERS and name not in FLOAT_ALONE for name in RESOLVER)
    cores = ", ".join(CORES)
    return "\n".join(
        [
            "# Operators",
            "",
            "Made by `python -m scripts.operator_table > docs/operators.md`: every builtin operator of tflite-micro's",
            f"resolver, and what µTVM takes of it. {taken} of {len(RESOLVER)} are taken, in int8 or the types named.",
            f"Each compiles for every core: {cores}.",
            "`tests/operators` and `tests/kernels` compare the reference with tflite-micro's interpreter, and kernels",
            "with the reference: on the host and on an emulated Cortex-M7, Cortex-M0 and RISC-V, every byte.",
            "",
            "| TFLite | what is taken |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _taken(name: str) -> str:
    if name in FLOAT_ALONE:
        return "refused: tflite-micro computes it in float32 alone"
    if name in CONVERTERS:
        return ", ".join(_types(name)) + (
            ", or folded at import where its inputs are constants" if name in FOLDED else ""
        )
    if name in FOLDED:
        return "folded at import"
    if name in _STATE:
        return "not yet: it keeps state"
    return "refused: it branches at run time" if name in _FLOW else "not yet"


def _types(name: str) -> list[str]:
    """Return the types of operands that a line of the table names; int8 for all others."""
    if name not in GENERAL:
        return ["int8", "uint8", "float32"] if name in ("QUANTIZE", "DEQUANTIZE") else ["int8"]
    kind = name.removesuffix("_V2").title().replace("_", "")
    return next(([str(t) for t in each.inputs] for each in (*FUNCTIONS, *REDUCERS) if each.name == kind), ["int8"])


if __name__ == "__main__":
    print(table(), end="")
