"""Write docs/operators.md: the operators of tflite-micro's resolver, and what µTVM takes of each, from the code.

Usage: python -m scripts.operator_table > docs/operators.md
"""

from __future__ import annotations

from utvm.cores import CORES
from utvm.frontends.flatbuffer import MAX_OPERATORS
from utvm.frontends.tflite_calls import CALLS
from utvm.frontends.tflite_custom import MICRO
from utvm.frontends.tflite_filled import FILLED_TYPES
from utvm.frontends.tflite_general import FLOAT_ALONE
from utvm.frontends.tflite_operators import CONVERTERS
from utvm.frontends.tflite_shapes import FOLDED
from utvm.frontends.tflite_state import STATEFUL
from utvm.frontends.tflite_types import TYPES
from utvm.frontends.unrolling import MOST_STEPS
from utvm.graph import DType
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
BEYOND = {
    "GELU": (DType.INT8, DType.FLOAT32),
    "POW": (DType.FLOAT32,),
    "REDUCE_ANY": (DType.BOOL,),
    "RELU_0_TO_1": (DType.INT8, DType.FLOAT32),
    "RELU_N1_TO_1": (DType.INT8, DType.FLOAT32),
    "SELECT": TYPES["SELECT"],
    "SIGN": (DType.FLOAT32,),
    "TILE": (DType.INT8, DType.INT16, DType.INT32, DType.BOOL, DType.FLOAT32),
}
_ENDS = dict.fromkeys(("QUANTIZE", "DEQUANTIZE"), (DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32))
_COLUMNS = (DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32, DType.INT32, DType.BOOL)


def table() -> str:
    """Return the page."""
    rows = [_row(name) for name in RESOLVER]
    taken = sum(bool(_types(name)) or name in FOLDED or name in STATEFUL for name in RESOLVER)
    cores = ", ".join(CORES)
    return "\n".join(
        [
            "# Operators",
            "",
            "Made by `python -m scripts.operator_table > docs/operators.md`: every builtin operator of tflite-micro's",
            f"resolver, and in which types of activations µTVM takes it. {taken} of {len(RESOLVER)} are taken.",
            f"Each compiles for every core: {cores}.",
            "`SIN` and `COS` alone do not link for lx106, whose library lacks double precision.",
            "",
            "`tests/operators` and `tests/kernels` compare the reference with tflite-micro's interpreter, and kernels",
            "with the reference: on the host and on an emulated Cortex-M7, Cortex-M0 and RISC-V, every byte.",
            "",
            "In float32 results have the same bits on every core, but for the sign and payload of a NaN.",
            "They are those of tflite-micro but for exponentials, logarithms, sines and what is made of them:",
            "these differ from its library by 2 parts in a million.",
            "",
            "Models of uint8 throughout, which tflite-micro does not run, become int8 when they are read: the",
            "same sums and roundings, 128 less as stored. Their `LOGISTIC`, `TANH` and `MEAN` are those of int8,",
            "which may differ by one from TFLite's own of uint8. Weights that int8 does not hold without their",
            "zero point are kept as int16, which cores with the DSP extension take as fast as int8.",
            "Weights of `CONV_2D`, `DEPTHWISE_CONV_2D` and `FULLY_CONNECTED` may be",
            "int4 beside int8: flash holds them two a byte, and their kernels are plain C. Those of",
            "`FULLY_CONNECTED` may have a zero point, or be computed.",
            "",
            "tflite-micro's interpreter runs more, which is refused: `QUANTIZE` of int32; int64, which few of",
            "its operators have (sizes, axes and places may be int64 constants, and places of maxima int64 results);",
            "`GREATER` in int16, which its interpreter answers with false for 5 > 0 too; `LOGICAL_AND` and",
            "`LOGICAL_OR` of bytes that are no bool; fused activations of int32, which its `ADD` leaves out.",
            "A file without operators, whose outputs are its inputs, is taken.",
            "",
            f"| TFLite | {' | '.join(map(str, _COLUMNS))} | |",
            f"|---|{'---|' * (len(_COLUMNS) + 1)}",
            *rows,
            "",
            "TFLite's converter writes more than tflite-micro runs. These are taken too: "
            + ", ".join(f"`{name}` ({', '.join(map(str, types))})" for name, types in BEYOND.items())
            + ",",
            "and `EXP`, `LOG` and `SQRT` in int8, by TFLite's tables (`tests/operators/test_beyond_micro.py`).",
            "",
            "`WHILE` is written out, step after step, where it counts to a constant, as the loops of Keras's recurrent",
            f"layers do: at most {MOST_STEPS:,} steps. `IF` is written out where its condition is known at import.",
            f"All steps together have at most {MAX_OPERATORS:,} operators. What depends on data is refused.",
            "The generated C has loops where steps repeat (docs/decisions/0058): more steps take no more flash.",
            "`tests/frontends/test_loops.py` compares int8 loops with tflite-micro, every byte, and float ones with",
            "numpy. tflite-micro keeps each tensor at one size: a loop whose lists vary in size, as Keras writes it",
            "for all states, gives wrong results in its interpreter. Here the last state in such a list is that of the",
            "same loop without a list (`test_the_list_of_an_int8_loop_ends_with_its_last_state`).",
            "",
            f"Of its custom operators these are computed: {', '.join(f'`{name}`' for name in sorted(MICRO))}.",
            "Those of its signal library are the same C here and on devices, exact but for transforms of float32,",
            "which are within 2 parts in a million; transforms are of powers of two. `CIRCULAR_BUFFER` is taken",
            "where its network goes on behind it in each run. `TFLite_Detection_PostProcess` is taken in float32, and",
            "in int8 behind a Dequantize: its boxes are within 2 parts in a million. A detection has one class, unless",
            "`use_regular_nms` suppresses boxes class by class. tflite-micro stops at a box without an area; here",
            "nothing is found then. Others (`ETHOSU`, `TFLM_DECODE`) are refused by their names, unless their C or",
            "their formula is given ([extending/custom.md](extending/custom.md)).",
            "",
        ]
    )


def _row(name: str) -> str:
    types = _types(name)
    marks = " | ".join("yes" if each in types else "" for each in _COLUMNS)
    return f"| `{name}` | {marks} | {_note(name)} |"


def _note(name: str) -> str:
    if name in FOLDED:
        return "folded at import" + (" where its inputs are constants" if _types(name) else "")
    if _types(name):
        return "tflite-micro has float32 alone" if name in FLOAT_ALONE else ""
    if name in STATEFUL:
        return "of any type"
    return "written out where its way is known at import, else refused" if name in CALLS else "not yet"


def _types(name: str) -> tuple[DType, ...]:
    """Return the types that the activations of an operator may have; none where it is not taken."""
    kind = name.removesuffix("_V2").title().replace("_", "")
    named = {each.name: each.inputs for each in (*FUNCTIONS, *REDUCERS)}
    if name in CALLS or name in STATEFUL:
        return ()
    if name in FILLED_TYPES:
        return FILLED_TYPES[name]
    if name in FLOAT_ALONE:
        return named.get(kind, ())
    if name in _ENDS:
        return _ENDS[name]
    if name in TYPES:
        return TYPES[name]
    return named.get(kind, (DType.INT8,)) if name in CONVERTERS else ()


if __name__ == "__main__":
    print(table(), end="")
