"""How many bytes the assembler makes of a Thumb-2 instruction: 2 where the 16-bit encoding can say it.

Source: Arm DDI 0403, A7.7. Text of a disassembler has `.w` where a shorter encoding exists and was not taken.
"""

from __future__ import annotations

import re

_LOW = frozenset(f"r{number}" for number in range(8))
_ALWAYS_NARROW = frozenset({"bx", "blx", "cbz", "cbnz", "nop", "bkpt", "svc", "cpsid", "cpsie"})
_ACCESSES = {"ldr": 4, "str": 4, "ldrh": 2, "strh": 2, "ldrb": 1, "strb": 1}
_SIGNED_LOADS = frozenset({"ldrsb", "ldrsh"})
_TWO_OPERANDS = frozenset({"and", "orr", "eor", "bic", "adc", "sbc", "mvn", "mul", "ror"})
_SHIFTS = frozenset({"lsl", "lsr", "asr"})
_UNARY = frozenset({"sxtb", "sxth", "uxtb", "uxth", "rev", "rev16", "revsh"})
_CONSTANT = re.compile(r"#(-?\w+)$")


def width(name: str, written: str, operands: str, *, flags: bool) -> int:
    """Return the bytes of an instruction.

    Args:
        name: its mnemonic without condition, `s` and qualifier.
        written: its mnemonic as it is written.
        operands: what follows.
        flags: whether the 16-bit encodings of data processing fit: it sets the flags, or is in an IT block.
    """
    if written.endswith(".w"):
        return 4
    if written.endswith(".n") or name == "it" or name in _ALWAYS_NARROW or name == "b":
        return 2
    parts = [part.strip() for part in operands.split(",")]
    return 2 if _narrow(name, parts, operands, flags=flags) else 4


def _narrow(name: str, parts: list[str], operands: str, *, flags: bool) -> bool:
    if "[" in operands:
        return _narrow_access(name, operands)
    if "{" in operands:
        return _narrow_list(name, operands)
    if re.search(r"\b(lsl|lsr|asr|ror|rrx)\b", operands):
        return False
    low = all(part in _LOW for part in parts if not part.startswith("#"))
    if name in _UNARY:
        return low and len(parts) == 2
    if name in ("cmp", "cmn", "tst"):
        return _narrow_compare(name, parts, low=low)
    if name == "mov":
        return _narrow_move(parts, flags=flags, low=low)
    if name in ("add", "sub"):
        return _narrow_sum(name, parts, flags=flags, low=low)
    if not (flags and low):
        return False
    if name in _SHIFTS:
        return parts[-1].startswith("#") or len(parts) == 2 or parts[0] == parts[1]
    if name in ("rsb", "neg"):
        return len(parts) < 3 or _value(parts[2]) == 0
    if name not in _TWO_OPERANDS or any(part.startswith("#") for part in parts):
        return False
    commutes = name in ("and", "orr", "eor", "adc", "mul")
    return len(parts) == 2 or parts[0] == parts[1] or (commutes and parts[0] == parts[2])


def _narrow_compare(name: str, parts: list[str], *, low: bool) -> bool:
    constant = _value(parts[-1])
    if constant is None:
        return low or name == "cmp"
    return name == "cmp" and low and 0 <= constant <= 255


def _narrow_move(parts: list[str], *, flags: bool, low: bool) -> bool:
    constant = _value(parts[-1])
    if constant is None:
        return low or not flags
    return flags and low and 0 <= constant <= 255


def _narrow_sum(name: str, parts: list[str], *, flags: bool, low: bool) -> bool:
    constant = _value(parts[-1])
    same = len(parts) == 2 or parts[0] == parts[1]
    if constant is None:
        if flags:
            return low
        return name == "add" and (same or parts[0] == parts[2])
    if "sp" in parts:
        top = 508 if parts[0] == "sp" else 1020 if parts[0] in _LOW and name == "add" else -1
        return not flags and 0 <= constant <= top and constant % 4 == 0
    return flags and low and 0 <= constant <= (255 if same else 7)


def _narrow_access(name: str, operands: str) -> bool:
    data, _, rest = operands.partition("[")
    inside, _, after = rest.partition("]")
    target = data.strip(" ,")
    parts = [part.strip() for part in inside.split(",")]
    if after.strip() or target not in _LOW or len(parts) > 2:
        return False
    base, offset = parts[0], parts[1] if len(parts) == 2 else "#0"
    if offset in _LOW and base in _LOW:
        return name in _ACCESSES or name in _SIGNED_LOADS
    value, scale = _value(offset), _ACCESSES.get(name)
    if value is None or scale is None or value < 0 or value % scale:
        return False
    if base == "sp" or (base == "pc" and name == "ldr"):
        return scale == 4 and value <= 1020
    return base in _LOW and value <= 31 * scale


def _narrow_list(name: str, operands: str) -> bool:
    head, _, listed = operands.partition("{")
    base = head.strip(" ,")
    names = [end.strip() for part in listed.partition("}")[0].split(",") for end in part.split("-")]
    if name in ("push", "pop"):
        extra = "lr" if name == "push" else "pc"
        return all(each in _LOW or each == extra for each in names)
    if name not in ("ldm", "ldmia", "ldmfd", "stm", "stmia", "stmea"):
        return False
    register = base.rstrip("!")
    writes_back = base.endswith("!")
    loads = name.startswith("ldm")
    return (
        register in _LOW
        and all(each in _LOW for each in names)
        and (writes_back != (register in names) if loads else writes_back)
    )


def _value(text: str) -> int | None:
    found = _CONSTANT.fullmatch(text)
    try:
        return None if found is None else int(found.group(1), 0)
    except ValueError:
        return None
