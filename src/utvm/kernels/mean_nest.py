"""The loops of a mean over one or two runs of dimensions."""

from __future__ import annotations

from dataclasses import dataclass

from utvm.graph import Mean


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanNest:
    """The loops of a mean, outermost first: `outer` calls over rows of taps, for so many lanes. Steps are bytes."""

    outer: int
    outer_step: int
    rows: int
    row_step: int
    taps: int
    tap_step: int
    lanes: int
    lane_step: int

    @staticmethod
    def of(op: Mean) -> MeanNest | None:
        """Return the loops of an operator; None where more than two runs of dimensions are averaged."""
        runs: list[tuple[bool, int, int]] = []
        step = op.x.elements
        for axis, size in enumerate(op.x.shape):
            step //= size
            averaged = axis in op.axes
            if size == 1:
                continue
            if runs and runs[-1][0] == averaged:
                runs[-1] = (averaged, runs[-1][1] * size, step)
            else:
                runs.append((averaged, size, step))
        averaged_runs = [(size, step) for averaged, size, step in runs if averaged]
        kept_runs = [(size, step) for averaged, size, step in runs if not averaged]
        if len(averaged_runs) > 2 or len(kept_runs) > 2:
            return None
        one = (1, 0)
        (rows, row_step), (taps, tap_step) = [one] * (2 - len(averaged_runs)) + averaged_runs
        (outer, outer_step), (lanes, lane_step) = [one] * (2 - len(kept_runs)) + kept_runs
        return MeanNest(
            outer=outer, outer_step=outer_step, rows=rows, row_step=row_step, taps=taps, tap_step=tap_step,
            lanes=lanes, lane_step=lane_step,
        )  # fmt: skip
