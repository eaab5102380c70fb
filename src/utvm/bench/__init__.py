"""The talk's evaluation and MLPerf Tiny on emulated boards, beside other people's kernels."""

from utvm.bench.charts import check_chart, write_chart
from utvm.bench.cmsis_nn import CMSIS_NN, measure_cmsis_nn
from utvm.bench.figures import Figures, PeerError
from utvm.bench.layers import layer_graph
from utvm.bench.recorded_peers import RECORDED_ORIGIN, Recorded, recorded
from utvm.bench.run import NoRow, Row, bench_layers, bench_mlperf_tiny, bench_talk, rows_json, rows_table

__all__ = [
    "CMSIS_NN",
    "RECORDED_ORIGIN",
    "Figures",
    "NoRow",
    "PeerError",
    "Recorded",
    "Row",
    "bench_layers",
    "bench_mlperf_tiny",
    "bench_talk",
    "check_chart",
    "layer_graph",
    "measure_cmsis_nn",
    "recorded",
    "rows_json",
    "rows_table",
    "write_chart",
]
