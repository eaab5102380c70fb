"""Recorded layers become operators of ours; rows say what they must; peers compute what we compute."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from utvm import api
from utvm.bench import NoRow, Row, bench_talk, layer_graph, recorded, rows_json, rows_table, write_chart
from utvm.bench.bakenn import PORTABLE, WITH_CMSIS_NN, measure_bakenn
from utvm.bench.cmsis_nn import CMSIS_NN, measure_cmsis_nn
from utvm.bench.figures import PeerError
from utvm.bench.run import _layer
from utvm.cli import main
from utvm.errors import UtvmError
from utvm.frontends import load
from utvm.graph.cost import macs
from utvm.graph.samples import random_input

EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"
KEYS = {
    *("name", "board", "plan", "macs", "instructions", "cycles", "cycles_source", "arena_bytes", "flash_bytes"),
    *("exact", "peers"),
}


def test_every_recorded_layer_has_the_macs_that_were_recorded() -> None:
    layers = [entry for (kind, _), entry in recorded().items() if kind == "layer"]
    made = [(entry, layer_graph(entry.name)) for entry in layers]
    assert len(layers) == 79
    assert [entry.name for entry, graph in made if graph is None and "relu" not in entry.name] == ["q7_softmax_10"]
    for entry, graph in made:
        if graph is not None:
            assert macs(graph) == entry.macs, entry.name


@pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-cortex-m4"])
@pytest.mark.parametrize("name", ["mb_dw7_6x6x128", "kws_fc_64_12", "rn8_add_8x8x64", "q7_conv3_fast_8x8x16_32_k5"])
def test_a_layer_is_exact_and_faster_than_what_was_recorded(board: str, name: str) -> None:
    with api.connect(board) as session:
        row = _layer(session, name)
    assert row.exact
    assert row.cycles is not None
    assert set(row.peers) == {f"cmsis-nn {'q7' if name.startswith('q7') else 's8'} (recorded)", CMSIS_NN, PORTABLE}
    for peer in row.peers.values():
        assert peer.cycles is None or peer.cycles > row.cycles


def test_rows_of_the_talk_have_all_keys_and_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utvm.bench.run._TALK_LAYERS", ("q7_conv3_fast_8x8x16_32_k5",))
    monkeypatch.setattr("utvm.bench.run._measured", lambda *_: {})
    rows = list(bench_talk("qemu-cortex-m7", None, example=EXAMPLE))
    assert [(row.name, row.plan) for row in rows] == [
        *(("cifar10", plan) for plan in ("fast", "256 KB flash", "small")),
        ("q7_conv3_fast_8x8x16_32_k5", "fast"),
    ]
    for row in json.loads(json.dumps(rows_json(rows))):
        assert set(row) == KEYS
        assert row["exact"]
        assert "model: measured cortex-m7" in row["cycles_source"]


@pytest.mark.parametrize("board", ["qemu-cortex-m3", "qemu-riscv32"])
def test_a_core_without_vectors_has_both_peers_beside_its_layers(board: str) -> None:
    """The library's plain C is beaten by a half at least."""
    with api.connect(board) as session:
        row = _layer(session, "mb_dw12_6x6x128_s2")
    assert row.exact
    assert all(row.peers[peer].exact for peer in (CMSIS_NN, PORTABLE))
    assert row.peers[CMSIS_NN].cycles > 1.4 * row.cycles
    assert row.peers[PORTABLE].cycles > 1.4 * row.cycles


@pytest.mark.parametrize("peer", [WITH_CMSIS_NN, PORTABLE])
def test_bakenn_computes_the_example_exactly(peer: str) -> None:
    graph = load(EXAMPLE)
    (tensor,) = graph.inputs
    values = np.random.default_rng(0).integers(-128, 128, tensor.shape, dtype=np.int8)
    with api.connect("qemu-cortex-m7") as session:
        found = measure_bakenn(session, graph, peer, {tensor.name: values})
    assert found.exact
    assert found.cycles > 10_000_000


ARMS = ["qemu-cortex-m3", "qemu-cortex-m4", "qemu-cortex-m7", "qemu-cortex-m33", "qemu-cortex-m55"]


@pytest.mark.parametrize("board", [*ARMS, "qemu-riscv32"])
@pytest.mark.parametrize(
    "name",
    [
        *("kws_conv_49x10x1_64_k10x4s2", "mb_dw6_12x12x64_s2", "mb_pw12_3x3x128_256", "rn8_conv_16x16x32_64_k1s2"),
        *("ad_fc_128_8", "cifar_pool3_8x8x32", "cifarP_avgpool3_8x8x64", "q7_conv3_fast_8x8x16_32_k5"),
    ],
)
def test_cmsis_nn_computes_a_layer_exactly(board: str, name: str) -> None:
    graph = layer_graph(name)
    assert graph is not None
    inputs = {tensor.name: random_input(tensor, 0) for tensor in graph.inputs}
    with api.connect(board) as session:
        found = measure_cmsis_nn(session, graph, inputs)
    assert found.exact
    assert found.instructions > 1_000
    assert not found.leaves_out


def test_cmsis_nn_computes_a_network_and_leaves_out_what_it_lacks() -> None:
    graph = load(EXAMPLE)
    inputs = {tensor.name: random_input(tensor, 0) for tensor in graph.inputs}
    with api.connect("qemu-cortex-m7", assume="stm32f746") as session:
        cached = measure_cmsis_nn(session, graph, inputs)
    with api.connect("qemu-cortex-m7") as session:
        found = measure_cmsis_nn(session, graph, inputs)
    assert found.exact
    assert cached.exact
    assert cached.instructions == found.instructions
    assert cached.cycles > found.cycles > 10_000_000
    assert found.leaves_out == ("Softmax" if any(op.kind == "Softmax" for op in graph.operators) else "")


def test_a_peer_that_is_not_exact_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = layer_graph("cifar_pool3_8x8x32")
    assert graph is not None
    inputs = {tensor.name: random_input(tensor, 0) for tensor in graph.inputs}
    monkeypatch.setattr("utvm.bench.cmsis_nn_calls._clamp", lambda _: "{.min = -128, .max = 100}")
    with api.connect("qemu-cortex-m7") as session:
        assert measure_cmsis_nn(session, graph, inputs).exact is False


def test_cmsis_nn_says_what_it_is_not_for() -> None:
    graph = layer_graph("rn8_add_8x8x64")
    assert graph is not None
    with api.connect("qemu-cortex-m7") as session, pytest.raises(PeerError, match="no function"):
        measure_cmsis_nn(session, graph, {})


def test_a_plan_that_is_not_possible_is_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utvm.bench.run._TALK_LAYERS", ())
    monkeypatch.setattr("utvm.bench.run._measured", lambda *_: {})
    monkeypatch.setattr("utvm.bench.run.PLANS", {"fast": {}, "tiny": {"flash": 16 * 1024}})
    fast, tiny = bench_talk("qemu-cortex-m7", None, example=EXAMPLE)
    assert isinstance(fast, Row)
    assert set(fast.peers) == {"cmsis-nn q7 (recorded)", "cmsis-nn s8 (recorded)"}
    assert isinstance(tiny, NoRow)
    assert "flash does not suffice" in tiny.reason


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bakenn", None)
    graph = layer_graph("kws_fc_64_12")
    with api.connect("qemu-cortex-m7") as session, pytest.raises(PeerError, match=r"pip install .*bakenn"):
        measure_bakenn(session, graph, PORTABLE, {})
    with api.connect("qemu-cortex-m7") as session, pytest.raises(PeerError, match=r"pip install .*bakenn"):
        measure_cmsis_nn(session, graph, {})


def test_a_chart_is_drawn(tmp_path: Path) -> None:
    with api.connect("qemu-cortex-m7") as session:
        rows = [_layer(session, name) for name in ("kws_fc_64_12", "q7_fc_opt_512_10")]
    write_chart(rows, tmp_path / "charts" / "one.svg")
    write_chart(rows, tmp_path / "two.svg")
    text = (tmp_path / "charts" / "one.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "two.svg").read_text(encoding="utf-8")
    for wanted in (
        "kws_fc_64_12, 768 MACs",
        "q7_fc_opt_512_10, 5.12 k MACs",
        "cmsis-nn q7 (recorded)",
        "cmsis-nn 4.0.0",
    ):
        assert text.count(f">{wanted}</text>") >= 1, wanted
    assert "7.93 k, " in text
    write_chart(rows, tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UtvmError, match="can't be written"):
        write_chart(rows, tmp_path / "one.png" / "chart.svg")
    with pytest.raises(UtvmError, match="nothing to draw"):
        write_chart([], tmp_path / "none.svg")


def test_a_chart_of_another_kind_is_refused_before_anything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "layers", "--board", "qemu-cortex-m7", "--chart", "chart.nonsense"]) == 2
    assert "give it the suffix .svg or .png" in capsys.readouterr().err


def test_a_table_shows_each_peer_once() -> None:
    with api.connect("qemu-cortex-m7") as session:
        row = _layer(session, "kws_fc_64_12")
    console = Console(width=200, record=True, file=StringIO())
    console.print(rows_table([row, replace(row, plan="small")]))
    text = console.export_text()
    assert text.count(CMSIS_NN) == 1
    assert text.count("kws_fc_64_12") == 2


def test_mlperf_tiny_needs_a_directory(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", "mlperf-tiny", "--board", "qemu-cortex-m7"]) == 2
    assert "--models" in capsys.readouterr().err
    assert main(["bench", "mlperf-tiny", "--board", "qemu-cortex-m7", "--models", str(tmp_path)]) == 2
    assert "none of MLPerf Tiny's" in capsys.readouterr().err
