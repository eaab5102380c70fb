"""What got plain C says why and what it costs; a core without micro-kernels has nothing to say."""

from tests.support.convolution import enlarged_convolution
from utvm import api
from utvm.bench import layer_graph
from utvm.graph import Conv2D
from utvm.kernels import FAMILIES, PORTABLE_FAMILIES, SMALL_FAMILIES
from utvm.lowering import Options, counted, lower, slower_calls

GRAPH = layer_graph("rn8_conv_16x16x32_64_k1s2")


def test_a_layer_that_a_faster_family_would_take_says_so_with_its_cost() -> None:
    assert GRAPH is not None
    core = api.as_board("qemu-cortex-m7").core
    assert slower_calls(lower(GRAPH, core)) == ()
    (slow,) = slower_calls(lower(GRAPH, core, Options(families=PORTABLE_FAMILIES)))
    assert slow.name == GRAPH.operators[0].name
    assert slow.cost == 0.75
    assert slow.basis == "by estimate"
    assert "direct" in slow.reasons[0]
    assert "75.0 %" in str(slow)
    (again,) = counted((slow,), [80.0], "by cycles of this run")
    assert again.cost == 0.75
    assert "by cycles of this run" in str(again)


def test_a_layer_that_every_family_refuses_has_their_reasons() -> None:
    assert GRAPH is not None
    core = api.as_board("qemu-cortex-m7").core
    program = lower(GRAPH, core, Options(families=PORTABLE_FAMILIES))
    refusing = [family for family in FAMILIES if family.name == "winograd-rows" and Conv2D in family.kinds]
    (slow,) = slower_calls(program, refusing)
    assert slow.reasons[0].startswith("winograd-rows: no tile")


def test_a_core_without_micro_kernels_has_no_slower_layers() -> None:
    assert GRAPH is not None
    assert slower_calls(lower(GRAPH, api.as_board("qemu-cortex-m3").core)) == ()


def test_families_of_other_cores_are_no_reason() -> None:
    """A core without dot products in words is told nothing of those that have them, and the other way round."""
    assert GRAPH is not None
    (op,) = GRAPH.operators
    for name in ("qemu-cortex-m7", "qemu-cortex-m3"):
        core = api.as_board(name).core
        for family in FAMILIES:
            lacking = family.lacks(core)
            assert lacking is None or family.refusal(op, core), family.name
        (slow,) = slower_calls(lower(GRAPH, core, Options(families=PORTABLE_FAMILIES)))
        assert "core" not in " ".join(slow.reasons)


def test_a_winograd_that_one_scale_costs_is_told() -> None:
    core = api.as_board("qemu-cortex-m7").core
    assert slower_calls(lower(enlarged_convolution(0.1), core)) == ()
    (slow,) = slower_calls(lower(enlarged_convolution(1.5), core))
    assert slow.family == "direct"
    assert all("1 of its 16 channels" in reason for reason in slow.reasons)
    assert slow.times > 1.3
    assert abs(slow.cost - (1 - 1 / slow.times)) < 1e-3
    assert slower_calls(lower(enlarged_convolution(1.5), core), SMALL_FAMILIES) == ()
