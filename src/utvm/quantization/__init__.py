"""Float networks → int8: calibration, the quantiser, and what it loses. Its output is an ordinary TFLite file."""

from utvm.quantization.dataset import Dataset, DatasetError, Pixels, dataset_of, read_dataset
from utvm.quantization.judge import Judgement, Layer, judge
from utvm.quantization.quantizer import QuantizationError
from utvm.quantization.ranges import Method
from utvm.quantization.whole import Quantized, quantize_float

__all__ = [
    "Dataset",
    "DatasetError",
    "Judgement",
    "Layer",
    "Method",
    "Pixels",
    "QuantizationError",
    "Quantized",
    "dataset_of",
    "judge",
    "quantize_float",
    "read_dataset",
]
