"""Thumb-2 instructions: kind and registers, parsed from assembler text.

The same text form serves disassembled code and micro-kernels whose registers are still virtual (`%name`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from utvm.cores.instruction import Form, Instruction, Kind, UnknownInstructionError
from utvm.cores.thumb.encoding_width import width
from utvm.cores.thumb.vector import parse_vector

_CONDITIONS = ["eq", "ne", "cs", "hs", "cc", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al"]


def _table() -> dict[str, Kind]:
    kinds = {
        Kind.ALU: (
            "add sub rsb neg adc sbc and orr orn eor bic mov mvn movw movt addw subw adr adds "
            "csel csinc csinv csneg cset csetm cinc cinv cneg"
        ),
        Kind.SHIFT: "lsl lsr asr ror rrx",
        Kind.COMPARE: "cmp cmn tst teq",
        Kind.EXTEND: "sxtb sxth uxtb uxth sxtb16 uxtb16",
        Kind.SIMD: (
            "sadd16 ssub16 sadd8 ssub8 uadd16 usub16 uadd8 usub8 sasx ssax uasx usax "
            "shadd16 shsub16 shadd8 shsub8 uhadd16 uhsub16 uhadd8 uhsub8 shasx shsax sel"
        ),
        Kind.SIMD_SATURATING: (
            "qadd16 qsub16 qadd8 qsub8 uqadd16 uqsub16 uqadd8 uqsub8 qadd qsub qdadd qdsub usad8 usada8"
        ),
        Kind.BITFIELD: "sbfx ubfx bfi bfc",
        Kind.PACK: "pkhbt pkhtb sxtab sxtah uxtab uxtah sxtab16 uxtab16",
        Kind.REVERSE: "rev rev16 revsh rbit",
        Kind.SATURATE: "ssat usat ssat16 usat16",
        Kind.COUNT: "clz",
        Kind.MULTIPLY: "mul smulbb smulbt smultb smultt smulwb smulwt smmul smmulr smuad smuadx smusd smusdx",
        Kind.MULTIPLY_LONG: "smull umull",
        Kind.MAC: (
            "mla mls smlabb smlabt smlatb smlatt smlawb smlawt smmla smmlar smmls smmlsr smlad smladx smlsd smlsdx"
        ),
        # Shifts of 64 bits read and write both registers, as sums of 64 bits do.
        Kind.MAC_LONG: (
            "smlal umlal umaal smlalbb smlalbt smlaltb smlaltt smlald smlaldx smlsld smlsldx asrl lsll lsrl"
        ),
        Kind.DIVIDE: "sdiv udiv",
        Kind.LOAD: "ldr ldrex ldrt",
        Kind.LOAD_NARROW: "ldrb ldrh ldrsb ldrsh ldrexb ldrexh",
        Kind.LOAD_DOUBLE: "ldrd",
        Kind.LOAD_MULTIPLE: "ldm ldmia ldmdb ldmfd ldmea pop vldm vldmia vldmdb vpop",
        Kind.STORE: "str strb strh strex strexb strexh strt",
        Kind.STORE_DOUBLE: "strd",
        Kind.STORE_MULTIPLE: "stm stmia stmdb stmfd stmea push vstm vstmia vstmdb vpush",
        Kind.TABLE_BRANCH: "tbb tbh",
        Kind.NOP: "nop yield wfi wfe sev",
        Kind.SYSTEM: "dsb dmb isb mrs msr cpsid cpsie svc bkpt udf clrex vmrs vmsr pld",
        Kind.FP: (
            "vadd vsub vneg vabs vcmp vcmpe vcvt vcvtr vrinta vrintn vrintm vrintz vmaxnm vminnm vselgt vselge vseleq"
        ),
        Kind.FP_MULTIPLY: "vmul vnmul",
        Kind.FP_MAC: "vmla vmls vfma vfms vnmla vnmls vfnma vfnms",
        Kind.FP_DIVIDE: "vdiv vsqrt",
        Kind.FP_MOVE: "vmov vmovx vins",
        Kind.FP_LOAD: "vldr",
        Kind.FP_STORE: "vstr",
        # As GNU objdump prints some vector transfers with post-increment.
        Kind.VECTOR_LOAD: "ldc ldcl ldc2 ldc2l",
        Kind.VECTOR_STORE: "stc stcl stc2 stc2l",
        Kind.LOOP: "dls wls le dlstp wlstp letp lctp",
    }
    return {name: kind for kind, names in kinds.items() for name in names.split()}


_KINDS = _table()
_REGISTER = re.compile(r"%\w+|\b(?:r\d+|sp|lr|pc|ip|fp|sl|sb|[sdq]\d+)\b")
_CONSTANT = re.compile(r"#(-?(?:0x[0-9a-f]+|\d+))\s*(?:;.*)?$", re.IGNORECASE)
_ALIASES = {"sb": "r9", "sl": "r10", "fp": "r11", "ip": "r12"}
_GE_WRITERS = frozenset(f"{sign}{name}" for sign in "su" for name in ("add16", "sub16", "add8", "sub8", "asx", "sax"))


@lru_cache(maxsize=65536)
def parse(text: str) -> Instruction:
    """Parse one line of assembler: mnemonic and operands, unified syntax, no label, no comment.

    Raises:
        UnknownInstructionError: the mnemonic is not known.
    """
    vector = parse_vector(text)
    if vector is not None:
        return vector
    mnemonic, _, operands = text.strip().partition(" ")
    name, flags, conditional = _mnemonic(mnemonic.lower())
    kind = _kind(name, operands)
    made = _Operands(text=text, name=name, kind=kind, operands=operands, flags=flags, conditional=conditional).build()
    size = width(name, mnemonic.lower(), operands.strip(), flags=flags or conditional)
    return replace(made, form=_form(name, kind, operands, flags=flags), size=size)


def _form(name: str, kind: Kind, operands: str, *, flags: bool) -> Form:
    if kind is Kind.EXTEND:
        return Form.PLAIN_EXTEND if not name.endswith("16") else Form.OTHER
    if kind is Kind.MULTIPLY:
        return Form.FLAGS if flags else Form.OTHER
    if kind is Kind.ALU_SHIFTED and name == "mov":
        return Form.MOVED_SHIFT
    if kind is Kind.STORE:
        return Form.OTHER if name in ("str", "strt", "strex") else Form.NARROW_STORE
    if name in ("cbz", "cbnz"):
        return Form.COMPARED
    if kind not in (Kind.ALU, Kind.COMPARE):
        return Form.OTHER
    if _made_by_shifter(name, operands):
        return Form.SHIFTED_CONSTANT
    return Form.SIMPLE if name in ("add", "sub", "mov", "movw", "addw", "subw", "adr") else Form.OTHER


def _made_by_shifter(name: str, operands: str) -> bool:
    """Whether a constant is eight bits shifted left (DDI 0403, A5.3.2); 12 bits of an addition need no shifter."""
    found = _CONSTANT.search(operands)
    if found is None or name in ("movw", "movt", "addw", "subw", "adr"):
        return False
    value = int(found.group(1), 0) & 0xFFFFFFFF
    low = value & 0xFF
    if value < 256 or (name in ("add", "sub") and value < 4096):
        return False
    return value not in (low * 0x00010001, low * 0x01010101, (value >> 8 & 0xFF) * 0x01000100)


def _mnemonic(written: str) -> tuple[str, bool, bool]:
    """Return (name, sets flags, is conditional)."""
    base = written.split(".")[0]
    if re.fullmatch(r"it[te]{0,3}", base):
        return "it", False, False
    if base in ("b", "bl", "blx", "bx", "cbz", "cbnz", *_KINDS):
        return ("add" if base == "adds" else base), base == "adds", base in ("cbz", "cbnz")
    if base[0] == "b" and base[1:] in _CONDITIONS:
        return "b", False, True
    for suffix in _CONDITIONS:
        if base.endswith(suffix):
            stem = base[: -len(suffix)]
            if stem in _KINDS or stem in ("bl", "bx", "blx"):
                return stem, False, True
            if stem.endswith("s") and stem[:-1] in _KINDS:
                return stem[:-1], True, True
    if base.endswith("s") and base[:-1] in _KINDS:
        return base[:-1], True, False
    if base.startswith("v"):
        return base, False, False
    raise UnknownInstructionError(f"no timing is known for the instruction '{written}'")


def _kind(name: str, operands: str) -> Kind:
    if name == "it":
        return Kind.IT
    if name in ("b", "cbz", "cbnz"):
        return Kind.BRANCH
    if name in ("bl", "blx"):
        return Kind.CALL
    if name == "bx":
        return Kind.RETURN
    if name.startswith("v") and re.search(r"\bq\d", operands):
        return Kind.VECTOR
    if name.startswith("v") and name not in _KINDS:
        return (
            Kind.VECTOR_LOAD if name.startswith("vld") else Kind.VECTOR_STORE if name.startswith("vst") else Kind.VECTOR
        )
    kind = _KINDS[name]
    if kind is Kind.ALU and re.search(r"\b(lsl|lsr|asr|ror)\b", operands):
        return Kind.ALU_SHIFTED
    return kind


@dataclass(slots=True, kw_only=True)
class _Operands:
    """Assigns roles to the registers of an instruction."""

    text: str
    name: str
    kind: Kind
    operands: str
    flags: bool
    conditional: bool

    def build(self) -> Instruction:
        match self.kind:
            case (
                Kind.LOAD
                | Kind.LOAD_NARROW
                | Kind.LOAD_DOUBLE
                | Kind.FP_LOAD
                | Kind.STORE
                | Kind.STORE_DOUBLE
                | Kind.FP_STORE
                | Kind.VECTOR_LOAD
                | Kind.VECTOR_STORE
            ):
                return self._memory()
            case Kind.LOAD_MULTIPLE | Kind.STORE_MULTIPLE:
                return self._multiple()
            case Kind.TABLE_BRANCH:
                return self._make(address=_registers(self.operands))
            case Kind.BRANCH | Kind.CALL | Kind.RETURN | Kind.IT | Kind.NOP | Kind.SYSTEM | Kind.LOOP:
                wanted = _registers(self.operands) if self.name not in ("b", "bl", "it") else ()
                return self._make(reads=wanted)
            case Kind.COMPARE:
                return self._make(writes=("flags",), reads=_registers(self.operands))
            case _:
                return self._arithmetic()

    def _make(
        self,
        *,
        writes: tuple[str, ...] = (),
        reads: tuple[str, ...] = (),
        address: tuple[str, ...] = (),
        early: tuple[str, ...] = (),
        accumulates: str | None = None,
        updates_base: bool = False,
        registers: int = 0,
        register_offset: bool = False,
    ) -> Instruction:
        extra = ("flags",) if self.conditional and self.name not in ("cbz", "cbnz") else ()
        if self.name in ("adc", "sbc", "rrx"):
            extra = ("flags",)
        if self.name == "sel":
            extra = (*extra, "ge")
        made = (*writes, "flags") if self.flags else writes
        if self.name in _GE_WRITERS:
            made = (*made, "ge")
        if self.conditional:
            reads = (*reads, *writes)
        return Instruction(
            text=self.text,
            kind=self.kind,
            writes=made,
            reads=(*reads, *extra),
            address=address,
            early=early,
            accumulates=accumulates,
            updates_base=updates_base,
            registers=registers,
            register_offset=register_offset,
            conditional=self.conditional,
            loads_pc="pc" in writes,
        )

    def _memory(self) -> Instruction:
        data, _, rest = self.operands.partition("[")
        inside, _, after = rest.partition("]")
        moved = _registers(data)
        address = (*_registers(inside), *_registers(after))
        updates = after.strip().startswith(("!", ","))
        base = (address[0],) if updates and address else ()
        loads = self.kind in (Kind.LOAD, Kind.LOAD_NARROW, Kind.LOAD_DOUBLE, Kind.FP_LOAD, Kind.VECTOR_LOAD)
        return self._make(
            writes=(*moved, *base) if loads else base,
            reads=() if loads else moved,
            address=address,
            updates_base=updates,
            register_offset=len(_registers(inside)) > 1,
        )

    def _multiple(self) -> Instruction:
        head, _, listed = self.operands.partition("{")
        names = _register_list(listed)
        stacked = self.name in ("push", "pop", "vpush", "vpop")
        base = ("sp",) if stacked else _registers(head)[:1]
        updates = stacked or "!" in head
        loads = self.kind is Kind.LOAD_MULTIPLE
        return self._make(
            writes=((*names, *base) if updates else names) if loads else (base if updates else ()),
            reads=() if loads else names,
            address=base,
            updates_base=updates,
            registers=len(names),
        )

    def _arithmetic(self) -> Instruction:
        found = _registers(self.operands)
        if self.kind in (Kind.MULTIPLY_LONG, Kind.MAC_LONG):
            both = found[:2]
            return self._make(writes=both, reads=found[2:] + (both if self.kind is Kind.MAC_LONG else ()))
        target, sources = found[:1], found[1:]
        if self.name in ("movt", "bfi", "bfc") or self.kind is Kind.FP_MAC:
            sources = (*sources, *target)
        if self.kind is Kind.MAC and len(sources) == 3:
            return self._make(writes=target, reads=sources[:2], accumulates=sources[2])
        if not sources and len(found) == 1 and self.name not in ("mov", "mvn", "movw", "adr", "vmov"):
            sources = target
        if self.kind is Kind.ALU_SHIFTED or self.kind is Kind.PACK:
            return self._make(writes=target, reads=sources[:-1], early=sources[-1:])
        if len(sources) == 1 and self._two_operand_form():
            sources = (*target, *sources)
        return self._make(writes=target, reads=sources)

    def _two_operand_form(self) -> bool:
        """Whether `op rd, rm` stands for `op rd, rd, rm`."""
        unary = {
            Kind.EXTEND,
            Kind.REVERSE,
            Kind.COUNT,
            Kind.SATURATE,
            Kind.BITFIELD,
            Kind.FP_MOVE,
            Kind.FP,
            Kind.FP_DIVIDE,
        }
        if self.kind in unary or self.name in ("mov", "mvn", "movw", "rsb", "neg"):
            return False
        return self.operands.count(",") == 1


def _registers(text: str) -> tuple[str, ...]:
    return tuple(_ALIASES.get(name, name) for name in _REGISTER.findall(text.partition("<")[0]))


def _register_list(text: str) -> tuple[str, ...]:
    names: list[str] = []
    for part in text.partition("}")[0].split(","):
        ends = [_ALIASES.get(end.strip(), end.strip()) for end in part.split("-")]
        if len(ends) == 2:
            prefix = ends[0][0]
            names += [f"{prefix}{i}" for i in range(int(ends[0][1:]), int(ends[1][1:]) + 1)]
        elif ends[0]:
            names.append(ends[0])
    return tuple(names)
