"""Modelled times of CMSIS-NN's kernels beside published ones on silicon: the table of docs/cycle-model.md.

    python benchmarks/silicon.py

The modelled cycles are the recorded ones that `utvm bench` shows (`utvm.bench.RECORDED_ORIGIN`); the published times
are those of Lai, Suda, Chandra: CMSIS-NN (arXiv 1801.06601) and of µTVM's evaluation (2019).
"""

from __future__ import annotations

from utvm.bench import recorded

CLOCK_HZ = 216_000_000
ROWS = (
    ("CMSIS-NN paper, conv1 (the only source of the fitted term)", "layer", "q7_conv1_RGB_32x32x3_32_k5", 31.4),
    ("CMSIS-NN paper, pool1", "layer", "q7_pool1_32x32x32", 1.6),
    ("CMSIS-NN paper, conv2", "layer", "q7P_conv2_fast_16x16x32_32_k5", 42.8),
    ("CMSIS-NN paper, pool2", "layer", "q7P_pool2_16x16x32", 0.4),
    ("CMSIS-NN paper, conv3", "layer", "q7P_conv3_fast_8x8x32_64_k5", 22.6),
    ("CMSIS-NN paper, pool3 (rounded to 0.1 ms)", "layer", "q7P_pool3_8x8x64", 0.3),
    ("CMSIS-NN paper, fully connected (rounded to 0.1 ms)", "layer", "q7P_fc_opt_1024_10", 0.1),
    ("CMSIS-NN paper, whole network", "net", "cifar10_paper_q7", 99.1),
    ("µTVM's evaluation, q7 CIFAR-10 CNN with CMSIS-NN", "net", "cifar10_arm_q7", 105.4),
    ("µTVM's evaluation, the same in int8", "net", "cifar10_arm", 135.9),
)
"""Case, kind and name of the recorded row, milliseconds measured on an STM32F746 at 216 MHz."""


def main() -> None:
    """Print the table as Markdown."""
    print("| case, STM32F746 at 216 MHz | modelled | measured | modelled / measured |\n|---|--:|--:|--:|")
    for case, kind, name, measured in ROWS:
        modelled = 1e3 * recorded()[kind, name].cycles["cortex-m7"] / CLOCK_HZ
        print(f"| {case} | {modelled:.2f} ms | {measured} ms | {modelled / measured:.2f} |")


if __name__ == "__main__":
    main()
