"""The memory plan: nothing live overlaps, nothing is below the lower bound, chains reach it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from utvm.lowering import BUFFER_ALIGNMENT, MemoryPlan, Request, lower_bound, plan_memory


def request(label: str, nbytes: int, first: int, last: int) -> Request:
    return Request(label=label, nbytes=nbytes, first=first, last=last)


def check(plan: MemoryPlan) -> None:
    requests = list(plan.offsets)
    for request_ in requests:
        assert plan.offsets[request_] % BUFFER_ALIGNMENT == 0
        assert plan.offsets[request_] + request_.nbytes <= plan.arena_bytes
    for i, one in enumerate(requests):
        for other in requests[i + 1 :]:
            if one.overlaps(other):
                a, b = plan.offsets[one], plan.offsets[other]
                assert a + one.nbytes <= b or b + other.nbytes <= a
    assert plan.arena_bytes >= plan.lower_bound


lives = st.tuples(st.integers(1, 5000), st.integers(-1, 12), st.integers(0, 6)).map(lambda t: (t[0], t[1], t[1] + t[2]))


@given(st.lists(lives, max_size=14))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_live_buffers_never_overlap(drawn: list[tuple[int, int, int]]) -> None:
    check(plan_memory([request(f"r{i}", *life) for i, life in enumerate(drawn)]))


@given(st.lists(st.integers(1, 40000), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_chain_reaches_the_lower_bound(sizes: list[int]) -> None:
    plan = plan_memory([request(f"t{i}", size, i - 1, i) for i, size in enumerate(sizes)])
    check(plan)
    assert plan.arena_bytes == plan.lower_bound


def test_lower_bound_is_the_largest_live_sum() -> None:
    requests = [request("a", 100, -1, 1), request("b", 50, 0, 2), request("c", 70, 2, 3)]
    assert lower_bound(requests) == 152
    assert lower_bound([]) == 0


def test_plans_are_deterministic() -> None:
    requests = [request(f"r{i}", 37 * (i % 5) + 3, i % 7, i % 7 + i % 3) for i in range(30)]
    first, second = plan_memory(requests), plan_memory(requests)
    assert list(first.offsets.values()) == list(second.offsets.values())
