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
    parser.add_argument("model", type=Path, metavar="MODEL", help="a float model: .onnx, .pt2 or .tflite")
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
    parser.add_argument(
        "--equalize",
        action="store_true",
        help="equalise the channels between layers first, for channels that differ much",
    )
    parser.add_argument(
        "--keep-accuracy",
        type=float,
        metavar="POINTS",
        help="make operators int16 or leave them in float32, the fewest with which at most so many points of accuracy "
        "are lost, or of agreement without labels; with --board the fastest choice",
    )
    parser.add_argument(
        "--board",
        metavar="BOARD",
        help="with --keep-accuracy: a board that the network must fit, and what it costs there",
    )
    parser.add_argument(
        "--fold-pixels",
        action="store_true",
        help="put --mean and --std into the network: its input becomes uint8, a camera's bytes as they are",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with each layer's values and noise")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm import api
    from utvm.report import quantize_html, quantize_json, quantize_text, write_bytes, write_text

    made = api.quantize(
        arguments.model,
        arguments.data,
        evaluate=arguments.evaluate,
        labels=arguments.labels,
        samples=arguments.samples,
        method=arguments.ranges,
        weights=arguments.weights,
        correct=not arguments.no_correction,
        equalize=arguments.equalize,
        keep_accuracy=arguments.keep_accuracy,
        board=arguments.board,
        pixels=chosen_pixels(arguments),
        fold_pixels=arguments.fold_pixels,
    )
    write_bytes(arguments.output, made.file)
    if arguments.html is not None:
        write_text(arguments.html, quantize_html(made.report))
    if arguments.json:
        print(json.dumps(quantize_json(made.report), indent=2))
    else:
        print(quantize_text(made.report))
        print(f"  file       {arguments.output}, {len(made.file):,} bytes")
    return 0
