"""`utvm quantize`: a float network and typical inputs become an int8 .tflite file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from utvm.cli.options import add_pixels, chosen_pixels, count

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "quantize",
        help="make an int8 .tflite file of a float network",
        description=(
            "Quantise MODEL, a float network, with typical inputs, write it as an int8 .tflite file, and tell what it "
            "loses: accuracy where labels are given, agreement with the float network, signal to noise by layer."
        ),
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a float model: .onnx or .tflite")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="WHERE",
        help="typical inputs: an .npz or .npy with an array [samples, ...], or a folder of pictures",
    )
    parser.add_argument("--evaluate", type=Path, metavar="WHERE", help="other inputs to judge by (default: --data)")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="the class of each sample that is judged by: .npy, .npz, or text with a number a line; default: the array "
        "'labels' beside the samples, or the folders that the pictures lie in",
    )
    add_pixels(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the .tflite file to write")
    parser.add_argument(
        "--samples", type=count, default=200, metavar="N", help="of --data, drawn to calibrate with (default: 200)"
    )
    parser.add_argument(
        "--ranges",
        choices=("percentile", "least-squares", "min-max"),
        default="percentile",
        help="how ranges of activations are chosen (default: percentile, 99.99 %% of what was seen)",
    )
    parser.add_argument(
        "--weights",
        choices=("min-max", "least-squares"),
        default="min-max",
        help="how scales of weights are chosen, one for each output channel (default: min-max)",
    )
    parser.add_argument("--no-correction", action="store_true", help="leave biases as they are")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm import api
    from utvm.report import quantize_json, quantize_text, write_bytes

    made = api.quantize(
        arguments.model,
        arguments.data,
        evaluate=arguments.evaluate,
        labels=arguments.labels,
        samples=arguments.samples,
        method=arguments.ranges,
        weights=arguments.weights,
        correct=not arguments.no_correction,
        pixels=chosen_pixels(arguments),
    )
    write_bytes(arguments.output, made.file)
    if arguments.json:
        print(json.dumps(quantize_json(made.report), indent=2))
    else:
        print(quantize_text(made.report))
        print(f"  file       {arguments.output}, {len(made.file):,} bytes")
    return 0
