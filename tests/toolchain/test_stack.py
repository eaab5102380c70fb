"""Worst-case stack from call graphs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utvm.toolchain import CallGraph, Frame, Layout, Region, Source, ToolchainError
from utvm.toolchain.stack import LIBRARY_BYTES

GRAPHS = st.integers(1, 8).flatmap(
    lambda n: st.lists(st.tuples(st.integers(0, 200), st.sets(st.integers(0, n - 1))), min_size=n, max_size=n)
)


def longest(graph, i):
    size, callees = graph[i]
    return size + max((longest(graph, j) for j in callees if j > i), default=0)


@given(GRAPHS)
def test_the_bound_is_the_deepest_chain(graph):
    """Calls go to higher numbers only, so the graph has no cycle."""
    frames = {
        f"f{i}": Frame(size=size, callees=tuple(f"f{j}" for j in sorted(callees) if j > i))
        for i, (size, callees) in enumerate(graph)
    }
    bound = CallGraph(frames=frames).bound("f0")
    assert bound.bytes == longest(graph, 0)
    assert bound.bytes == sum(frames[name].size for name in bound.chain)
    assert CallGraph.loads(CallGraph(frames=frames).dumps()) == CallGraph(frames=frames)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ({"f": Frame(size=8, callees=("g",)), "g": Frame(size=8, callees=("f",))}, r"recursion \(f → g → f\)"),
        ({"f": Frame(size=8, callees=("__indirect_call",))}, "f calls through a pointer"),
        ({"f": Frame(size=8, bounded=False)}, "frame of f has no fixed size"),
        ({}, "no source defines the function 'f'"),
    ],
)
def test_what_has_no_bound_says_why(frames, reason):
    with pytest.raises(ToolchainError, match=reason):
        CallGraph(frames=frames).bound("f")


def test_what_the_compiler_writes_is_read(arm):
    text = """\
#include <stdint.h>
static __attribute__((noinline)) int32_t pad(int32_t i) {
  volatile int8_t room[100];
  room[i] = 1;
  return room[0];
}
void utvm_start(void);
int64_t divide(int64_t a, int64_t b);
int32_t sized(int32_t n);
int32_t again(int32_t n);
void utvm_start(void) { (void)pad(3); }
int64_t divide(int64_t a, int64_t b) { return a / b; }
int32_t sized(int32_t n) { volatile int32_t v[n]; v[0] = n; return v[n - 1]; }
int32_t again(int32_t n) { return n < 2 ? pad(n) : again(n - 1) * pad(n) + again(n - 3); }
"""
    region = Region(name="ram", origin=0x20000000, length=0x10000)
    layout = Layout(code=region, constants=region, data=region, stack_bytes=1024)
    image = arm.build([Source(name="calls.c", text=text)], layout, entries=["divide"])
    graph = image.call_graph
    own = graph.frames["calls.c:pad"].size
    assert 100 <= own < 150
    assert image.worst_stack("utvm_start").chain == ("utvm_start", "calls.c:pad")
    assert image.worst_stack("utvm_start").bytes == graph.frames["utvm_start"].size + own
    divide = image.worst_stack("divide")
    assert divide.chain[1] == "__aeabi_ldivmod"
    assert divide.bytes == graph.frames["divide"].size + LIBRARY_BYTES
    with pytest.raises(ToolchainError, match="no fixed size"):
        image.worst_stack("sized")
    with pytest.raises(ToolchainError, match="recursion"):
        image.worst_stack("again")
