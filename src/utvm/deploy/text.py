"""What the commands print."""

from __future__ import annotations

from utvm.deploy.manifest import Manifest
from utvm.deploy.verifying import Verification


def export_text(manifest: Manifest) -> str:
    """Return the cost of an export, one line each."""
    m = manifest
    lines = [
        f"{m.name} for {m.core} ({m.board}): {len(m.core_form.operators)} kernel calls",
        f"  RAM    {m.core_form.arena_bytes:>9,} B arena",
        *_stripes(m),
        f"  stack  {m.stack_bytes:>9,} B at most, by {' → '.join(_deepest(m))}",
    ]
    for build in m.builds:
        parts = f"code {build.code_bytes:,} B + constants {build.constant_bytes:,} B, stack {build.stack_bytes:,} B"
        lines.append(f"  flash  {build.flash_bytes:>9,} B under {build.optimize}: {parts}")
    if m.expected.cycles is not None:
        lines.append(f"  cycles {m.expected.cycles:>9,} ({m.expected.how})")
        if m.expected.milliseconds:
            lines.append(
                f"  time   {m.expected.milliseconds:>9,.2f} ms at {m.expected.clock_hz / 1e6:g} MHz, "
                f"{1000 / m.expected.milliseconds:,.1f} inferences a second"
            )
    elif m.expected.instructions is not None:
        lines.append(f"  instructions {m.expected.instructions:,} ({m.expected.source})")
    lines += [f"  slower {entry}" for entry in m.slower]
    lines += [f"  {key} budget {limit:,} B: kept" for key, limit in m.budgets.items()]
    return "\n".join(lines)


def _stripes(manifest: Manifest) -> list[str]:
    """Say what the budget of RAM cost, if layers are computed in stripes."""
    work = sum(entry.macs for entry in manifest.core_form.operators)
    if work <= manifest.model_macs:
        return []
    return [f"         its first layers in stripes: {work / manifest.model_macs:.2f} times the multiply-accumulates"]


def _deepest(manifest: Manifest) -> tuple[str, ...]:
    return max(manifest.builds, key=lambda build: build.stack_bytes).stack_chain


def verification_text(verification: Verification) -> str:
    """Return which files were changed, what each machine showed, and whether the model is another."""
    lines = []
    if verification.changed:
        allowed = "" if verification.allow_changed else " (a failure; --allow-changed lets them pass)"
        lines.append(f"changed since the export: {', '.join(verification.changed)}{allowed}")
    for check in verification.checks:
        layers = f", {check.layers:,} layer results" if check.layers else ""
        if check.failure is not None:
            lines.append(f"{verification.name} on {check.place}: NOT RUN: {check.failure}")
        elif check.difference is None:
            lines.append(f"{verification.name} on {check.place}: {check.inputs} inputs{layers}: equal bit by bit")
        else:
            lines.append(f"{verification.name} on {check.place}: NOT EQUAL: {check.difference}")
    if verification.other_model:
        lines.append("the model's file is another than the one that was exported")
    return "\n".join(lines)
