"""Finds what is installed of all that µTVM needs.

Imports no third-party package: one of them may be what is missing.
"""

from __future__ import annotations

import platform
import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from utvm import __version__
from utvm.notebook import html_table
from utvm.prerequisites import PREREQUISITES, how_to_install

_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)\s*(?:>=\s*(?P<minimum>[\w.]+))?[^;]*(?:;.*extra == ['\"](?P<extra>\w+)['\"])?"
)
"""A requirement as package metadata states it, for example `mypy>=1.11; extra == "lint"`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked for.

    Attributes:
        name: a program, a C library or a Python package.
        purpose: what needs it.
        version: the version found, None if it is missing.
        required: whether µTVM works without it.
        mend: what to do about it; None when all is well.
    """

    name: str
    purpose: str
    version: str | None
    required: bool
    mend: str | None

    @property
    def state(self) -> str:
        """Return "ok", "missing", "too old", or "optional" for what is absent and may be."""
        if self.mend is None:
            return "ok"
        if not self.required:
            return "optional"
        return "missing" if self.version is None else "too old"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Everything looked for; prints as a table."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Return whether everything required is there."""
        return all(finding.mend is None for finding in self.findings if finding.required)

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as values that JSON takes."""
        return {
            "utvm": __version__,
            "python": platform.python_version(),
            "healthy": self.healthy,
            "findings": [asdict(finding) | {"state": finding.state} for finding in self.findings],
        }

    def __repr__(self) -> str:
        """A line; `print` shows the table."""
        state = "healthy" if self.healthy else "something required is missing: print it"
        return f"Diagnosis({len(self.findings)} findings, {state})"

    def _repr_html_(self) -> str:
        """The findings as a table, for notebooks."""
        rows = [(f.name, f.state, f.version or "", f.purpose, f.mend or "") for f in self.findings]
        return html_table(f"utvm {__version__}", ("what", "state", "version", "for", "mend by"), rows)

    def __str__(self) -> str:
        width = max(len(finding.name) for finding in self.findings)
        lines = [f"utvm {__version__} on Python {platform.python_version()} ({sys.executable})", ""]
        for finding in self.findings:
            lines.append(f"  {finding.state:8}  {finding.name:{width}}  {finding.version or '-':22}  {finding.purpose}")
            if finding.mend:
                lines.extend(f"            {line}" for line in finding.mend.splitlines())
        lines.append("")
        if self.healthy:
            lines.append("Everything required is installed.")
        else:
            bad = [finding.name for finding in self.findings if finding.required and finding.mend]
            lines.append(f"Missing or too old: {', '.join(bad)}. The line under each mends it.")
        return "\n".join(lines)


def diagnose() -> Diagnosis:
    """Look for every program, C library and Python package that µTVM uses; about half a second.

    Raises:
        nothing: what is missing is in the result, with the command that mends it.

    Example:
        print(utvm.diagnose())
    """
    return Diagnosis(findings=(*_programs(), *_packages()))


def _programs() -> Iterable[Finding]:
    for item in PREREQUISITES:
        version = item.found()
        mend = how_to_install([item]) if version is None else None
        required = not item.extras
        yield Finding(name=item.name, purpose=item.purpose, version=version, required=required, mend=mend)


def _packages() -> Iterable[Finding]:
    try:
        requirements = metadata.requires("utvm") or []
    except metadata.PackageNotFoundError:
        mend = f"in the checkout: {_pip()} install --editable ."
        yield Finding(name="utvm", purpose="this package", version=None, required=True, mend=mend)
        return
    found: dict[str, Finding] = {}
    for requirement in requirements:
        finding = _package(requirement)
        if finding.name == "utvm":  # an extra made of others, which are listed themselves
            continue
        known = found.get(finding.name)
        if known is None or (finding.required and not known.required):
            found[finding.name] = finding
        elif not finding.required and not known.required:
            joined = f"{known.purpose}, {finding.purpose.removeprefix('for ')}"
            found[finding.name] = Finding(**{**asdict(known), "purpose": joined})
    yield from sorted(found.values(), key=lambda finding: not finding.required)


def _package(requirement: str) -> Finding:
    match = _REQUIREMENT.match(requirement)
    assert match is not None, requirement
    name, minimum, extra = match["name"], match["minimum"], match["extra"]
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        version = None
    mend = None
    if version is None or (minimum and _numbers(version) < _numbers(minimum)):
        mend = f"{_pip()} install {shlex.quote(f'{name}>={minimum}' if minimum else name)}"
    purpose = f"for the extra '{extra}'" if extra else "used by the compiler"
    return Finding(name=name, purpose=purpose, version=version, required=extra is None, mend=mend)


def _numbers(version: str) -> tuple[int, ...]:
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in leading.group().split(".")) if leading else ()


def _pip() -> str:
    return f"{shlex.quote(sys.executable)} -m pip"
