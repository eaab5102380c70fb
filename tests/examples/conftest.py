"""The example's scripts import each other as top-level modules, as they do when run."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples" / "cifar10"))
