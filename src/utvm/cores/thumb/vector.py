"""Instructions of the M-profile vector extension (Helium): kind and registers, from assembler text.

Source: Arm DDI 0553 (Armv8-M Architecture Reference Manual), C2.4. GNU objdump writes VMLADAV as VMLAV. Kinds say which
unit an instruction needs (`cortex_m55_timing`).
"""

from __future__ import annotations

import re
from functools import lru_cache

from utvm.cores.instruction import Instruction, Kind, UnknownInstructionError

_VECTOR = re.compile(r"%q\w*|\bq\d")
_REGISTER = re.compile(r"%\w+|\b(?:r\d+|sp|lr|ip|fp|sl|sb|q\d)\b")
_ALIASES = {"sb": "r9", "sl": "r10", "fp": "r11", "ip": "r12"}
_SHIFTS = re.compile(
    r"v(q?r?shrun?[bt]|q?r?shrn[bt]|q?movn[bt]|q?movun[bt]|movl[bt]|shll[bt]|rshr|rshl|qrshl|qshl|shlc|qshrn[bt]|"
    r"qshrun[bt]|qrshrn[bt]|qrshrun[bt]|rshrn[bt])"
)
_SUMS = re.compile(
    r"v(r?ml[as]l?d?a?va?x?|ml[as]dava?x?|r?ml[as]ldavh?a?x?|r?mlalvh?a?|addl?va?|abava?|(max|min)(nm)?a?v)$"
)
_MULTIPLIES = re.compile(
    r"v(mul|mull[bt]|mulh|rmulh|mlas?|fma|fms|fmas|cmul|cmla|q?r?dmulh|qdmull[bt]|q?r?dml[as]d?h?[sx]?)"
)
_REPLACES = frozenset(
    {
        "dup",
        "mvn",
        "neg",
        "abs",
        "rev16",
        "rev32",
        "rev64",
        "clz",
        "cls",
        "movlb",
        "movlt",
        "cvt",
        "mov",
        "qneg",
        "qabs",
    }
)
_MERGES = re.compile(r"v(q?movu?n[bt]|q?r?shru?n[bt]|mlas?|fmas?|fms|q?r?dml|bsl|sri|sli|maxa|mina|maxnma|minnma)")
_SIMPLE = re.compile(
    r"v(add|sub|and|orr|orn|eor|bic|mov|mvn|dup|[id]w?dup|rev\d\d|max|min|h?add|h?sub|hcadd|cadd|shr|shl|abs|abd|neg|psel|cmp|"
    r"cmpe|qadd|qsub|qabs|qneg|rhadd|clz|cls|adc|adci|sbc|sbci|hadd|hsub|sri|sli|maxa|mina|brsr|cvt\w?|rint\w?|"
    r"maxnma?|minnma?)$"
)

_GATHERS = {"8": Kind.GATHER_BYTES, "16": Kind.GATHER_HALVES}
"""Gathers by the bits of a lane, where there are more than four."""


@lru_cache(maxsize=65536)
def parse_vector(text: str) -> Instruction | None:
    """Return an instruction of the vector extension; None if `text` is of another kind.

    Raises:
        UnknownInstructionError: it uses vector registers and is not known.
    """
    mnemonic, _, operands = text.strip().partition(" ")
    name = mnemonic.lower().partition(".")[0]
    if name.startswith(("vpst", "vpt", "vctp", "vpnot")):
        used = _registers(operands)
        return _made(text, Kind.PREDICATE, writes=("vpr",), reads=(*used, *(("vpr",) if name == "vpnot" else ())))
    if not name.startswith("v") or not _VECTOR.search(operands):
        return None
    kind, predicated = _kind(name, operands), False
    if kind is None and name[-1] in "te":
        name, predicated = name[:-1], True
        kind = _kind(name, operands)
    if kind is None:
        raise UnknownInstructionError(f"no timing is known for the instruction '{text}'")
    # What is predicated keeps lanes of its result, unless it is a load.
    extra = ("vpr",) if predicated or name == "vpsel" else ()
    if "[" in operands and kind is not Kind.VECTOR_MOVE:
        if kind is Kind.GATHER:
            kind = _GATHERS.get(mnemonic.rpartition(".")[2].lstrip("usf"), kind)
        return _memory(text, name, kind, operands, extra)
    return _arithmetic(text, name, kind, operands, extra, keeps=predicated)


def _kind(name: str, operands: str) -> Kind | None:
    """Return the kind of a name without a predicate; None where it is not one."""
    memory = re.fullmatch(r"v(ld|st)(r[bhwd]|[24][0-3])", name)
    if memory:
        gathers = bool(_VECTOR.search(operands.partition("[")[2]))
        if memory[1] == "ld":
            return Kind.GATHER if gathers else Kind.VECTOR_LOAD
        return Kind.SCATTER if gathers else Kind.VECTOR_STORE
    if name == "vmov" and (_lanes(operands) or len(_VECTOR.findall(operands)) < len(_registers(operands))):
        return Kind.VECTOR_MOVE
    if _SUMS.fullmatch(name):
        return Kind.VECTOR_SUM
    if _SHIFTS.fullmatch(name):
        return Kind.VECTOR_SHIFT
    if _MULTIPLIES.fullmatch(name):
        return Kind.VECTOR_MULTIPLY
    return Kind.VECTOR if _SIMPLE.fullmatch(name) else None


def _memory(text: str, name: str, kind: Kind, operands: str, extra: tuple[str, ...]) -> Instruction:
    data, _, rest = operands.partition("[")
    inside, _, after = rest.partition("]")
    moved, address = _listed(data), _registers(inside)
    updates = after.strip().startswith(("!", ","))
    base = address[:1] if updates else ()
    loads = kind in (Kind.VECTOR_LOAD, Kind.GATHER, *_GATHERS.values())
    # VLD4x and VLD2x fill parts of all their registers.
    parts = moved if loads and re.fullmatch(r"vld[24][0-3]", name) and not name.endswith("0") else ()
    return _made(
        text,
        kind,
        writes=(*moved, *base) if loads else base,
        reads=(*extra, *parts) if loads else (*moved, *extra),
        address=address,
        updates_base=updates,
        register_offset=len(address) > 1,
    )


def _arithmetic(text: str, name: str, kind: Kind, operands: str, extra: tuple[str, ...], *, keeps: bool) -> Instruction:
    found = _registers(operands)
    if kind is Kind.VECTOR_MOVE:
        if _VECTOR.match(found[0]):
            into = found[:1]
            return _made(text, kind, writes=into, reads=(*found[1:], *into, *extra))
        vectors = tuple(dict.fromkeys(each for each in found if _VECTOR.match(each)))
        return _made(text, kind, writes=tuple(each for each in found if each not in vectors), reads=(*vectors, *extra))
    if kind is Kind.VECTOR_SUM:
        targets = 2 if re.search(r"ml[as]l|addlv|ml[as]ldav", name) else 1
        adds = "ava" in name or name.startswith(("vmaxv", "vminv", "vmaxav", "vminav", "vaddlva", "vabav"))
        adds = adds or bool(re.search(r"lvh?a$", name))
        return _made(
            text,
            kind,
            writes=found[:targets],
            reads=(*found[targets:], *(found[:2] if adds and targets == 2 else ()), *extra),
            accumulates=found[0] if adds and targets == 1 else None,
        )
    if name in ("vcmp", "vcmpe"):
        return _made(text, kind, writes=("vpr",), reads=(*found, *extra))
    if re.fullmatch(r"v[id]w?dup|vshlc", name):
        return _made(text, kind, writes=found[:2], reads=(*found[1:], *(found[:1] if name == "vshlc" else ()), *extra))
    target, sources = found[:1], found[1:]
    if (len(found) == 1 or (operands.count(",") == 1 and name[1:] not in _REPLACES)) and "#" not in operands:
        sources = (*sources, *target)
    if _MERGES.match(name) or keeps:
        sources = (*sources, *target)
    return _made(text, kind, writes=target, reads=(*sources, *extra))


def _made(
    text: str,
    kind: Kind,
    *,
    writes: tuple[str, ...],
    reads: tuple[str, ...],
    address: tuple[str, ...] = (),
    accumulates: str | None = None,
    updates_base: bool = False,
    register_offset: bool = False,
) -> Instruction:
    return Instruction(
        text=text,
        kind=kind,
        writes=writes,
        reads=reads,
        address=address,
        accumulates=accumulates,
        updates_base=updates_base,
        register_offset=register_offset,
        size=4,
    )


def _lanes(operands: str) -> bool:
    return "[" in operands


def _registers(text: str) -> tuple[str, ...]:
    return tuple(_ALIASES.get(name, name) for name in _REGISTER.findall(text))


def _listed(text: str) -> tuple[str, ...]:
    """Return the registers of a list, which may have a range in it."""
    span = re.search(r"q(\d)\s*-\s*q(\d)", text)
    return tuple(f"q{n}" for n in range(int(span[1]), int(span[2]) + 1)) if span else _registers(text)
