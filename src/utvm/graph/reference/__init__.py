"""What every operator computes, in numpy: the specification that kernels are tested against.

Results equal tflite-micro's reference kernels bit for bit. Readable first; fast enough for whole networks.
"""

from utvm.graph.reference.comparison import differing
from utvm.graph.reference.evaluation import EvaluationError, evaluate, evaluate_operator

__all__ = ["EvaluationError", "differing", "evaluate", "evaluate_operator"]
