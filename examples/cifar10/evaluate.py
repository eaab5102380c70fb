"""Accuracy on test images: python evaluate.py [--data TEST] [--checkpoint checkpoint.pt] [--count N].

The int8 model runs in tflite-micro's interpreter, the float checkpoint in PyTorch. TEST is an .npz with
`images` (uint8 [N,32,32,3]) and `labels`, or the official archive; without it, the official archive is
downloaded.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from dataset import DataError, Images, load_test
from tflite_micro import runtime

HERE = Path(__file__).parent


def main() -> int:
    """Parse the command line and print both accuracies."""
    parser = argparse.ArgumentParser(description="Measure the CIFAR-10 network's accuracy.")
    parser.add_argument("--data", type=Path, help="test images: .npz or the official archive (default: download)")
    parser.add_argument("--cache", type=Path, default=HERE / "data", help="where a download is kept")
    parser.add_argument("--model", type=Path, default=HERE / "cifar10_cnn.tflite")
    parser.add_argument("--checkpoint", type=Path, help="also measure this float checkpoint (needs PyTorch)")
    parser.add_argument("--count", type=int, help="use the first COUNT images only")
    options = parser.parse_args()
    try:
        images = load_test(options.data, options.cache)
    except DataError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 2
    images = images.take(np.arange(len(images))[: options.count])
    if options.checkpoint is not None:
        print(f"float {float_accuracy(options.checkpoint, images):.2%} of {len(images)} images")
    print(f"int8  {int8_accuracy(options.model, images):.2%} of {len(images)} images")
    return 0


def int8_accuracy(model: Path, images: Images) -> float:
    """Return the share of images that a .tflite classifies right in tflite-micro's interpreter.

    The model's input is the pixel minus 128, int8 [1, 32, 32, 3]; its output holds one score per class.
    """
    interpreter = runtime.Interpreter.from_file(str(model))
    right = 0
    for pixels, label in zip(images.pixels, images.labels, strict=True):
        interpreter.set_input((pixels.astype(np.int16) - 128).astype(np.int8)[None], 0)
        interpreter.invoke()
        right += int(interpreter.get_output(0).argmax() == label)
    return right / len(images)


def float_accuracy(checkpoint: Path, images: Images) -> float:
    """Return the share of images that the float network classifies right."""
    import torch
    from network import CifarNet
    from train import accuracy

    net = CifarNet()
    net.load_state_dict(torch.load(checkpoint, weights_only=True))
    return accuracy(net, images)


if __name__ == "__main__":
    sys.exit(main())
