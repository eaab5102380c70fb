"""Float networks → int8: calibration, the quantiser, and what it loses. Its output is an ordinary TFLite file."""

from utvm.quantization.dataset import Dataset, DatasetError, Pixels, dataset_of, read_dataset
from utvm.quantization.judging import JudgedLayer, Judgement, check_labels, judge
from utvm.quantization.keeping import BoardCost, Kept
from utvm.quantization.pixels import folded
from utvm.quantization.quantizer import QuantizationError
from utvm.quantization.ranges import Distribution, Method, ValueRange
from utvm.quantization.whole import Keep, Quantized, quantize_float

__all__ = [
    "BoardCost",
    "Dataset",
    "DatasetError",
    "Distribution",
    "JudgedLayer",
    "Judgement",
    "Keep",
    "Kept",
    "Method",
    "Pixels",
    "QuantizationError",
    "Quantized",
    "ValueRange",
    "check_labels",
    "dataset_of",
    "folded",
    "judge",
    "quantize_float",
    "read_dataset",
]
