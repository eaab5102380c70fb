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
            a, b = plan.offsets[one], plan.offsets[other]
            over = (other.over is one and b + other.ahead <= a) or (one.over is other and a + one.ahead <= b)
            together = one.first <= other.last and other.first <= one.last
            if together and not over:
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


steps = st.tuples(st.integers(1, 5000), st.integers(-5000, 5000), st.booleans())


@given(st.integers(1, 5000), st.lists(steps, min_size=1, max_size=12), st.lists(lives, max_size=4))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_outputs_lie_over_inputs_only_as_far_ahead_as_allowed(
    first: int, drawn: list[tuple[int, int, bool]], others: list[tuple[int, int, int]]
) -> None:
    chain = [request("t0", first, -1, 0)]
    for position, (nbytes, ahead, over) in enumerate(drawn):
        chain.append(
            Request(
                label=f"t{position + 1}",
                nbytes=nbytes,
                first=position,
                last=position + 1,
                over=chain[-1] if over else None,
                ahead=max(ahead, nbytes - chain[-1].nbytes),
            )
        )
    check(plan_memory([*chain, *(request(f"r{i}", *life) for i, life in enumerate(others))]))


def test_a_chain_of_outputs_over_inputs_reaches_the_lower_bound() -> None:
    x = request("x", 1000, -1, 0)
    y = Request(label="y", nbytes=2000, first=0, last=1, over=x, ahead=1010)
    z = Request(label="z", nbytes=1200, first=1, last=2, over=y, ahead=-600)
    plan = plan_memory([x, y, z])
    check(plan)
    assert plan.arena_bytes == plan.lower_bound == 2012
