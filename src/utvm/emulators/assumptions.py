"""What the cycle model may assume beyond zero-wait memory: the memories of a real part, or a slower pipeline.

Geometry and wait states are the manuals'; the cycles of a miss add the bus, and are estimates. Nothing here was
compared with silicon access by access; docs/cycle-model.md says what was.
"""

from __future__ import annotations

from dataclasses import dataclass

from utvm.cores import FlashCaches
from utvm.cores.cortex_m7_timing import PESSIMISTIC_CORTEX_M7_TIMING
from utvm.cores.timing import Timing
from utvm.emulators.counters import CacheGeometry, RangeCounts
from utvm.errors import UtvmError


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryModel:
    """Caches in front of flash and RAM, and the cycles that a miss waits.

    Up to `fast_ram_bytes` of data are in memory without wait states; more is behind the data cache. A sequential miss
    follows the last missed line: what a prefetch hides of it is left out of its cycles.
    """

    instruction_cache: CacheGeometry
    data_cache: CacheGeometry
    fetch_miss: int
    sequential_fetch_miss: int
    constant_miss: int
    sequential_constant_miss: int
    fast_ram_bytes: int
    ram_miss: int

    def flash_caches(self) -> FlashCaches:
        """Return what estimates of kernels need to know of it."""
        code, constants = self.instruction_cache, self.data_cache
        return FlashCaches(
            code_bytes=code.line_bytes * code.sets * code.ways,
            constant_bytes=constants.line_bytes * constants.sets * constants.ways,
            code_line_cycles=self.sequential_fetch_miss,
            constant_line_cycles=self.sequential_constant_miss,
        )

    def stalls(self, flash: RangeCounts, ram: RangeCounts) -> int:
        """Return the cycles that the counted misses wait."""
        return (
            self.sequential_fetch_miss * flash.sequential_fetch_misses
            + self.fetch_miss * (flash.fetch_misses - flash.sequential_fetch_misses)
            + self.sequential_constant_miss * flash.sequential_read_misses
            + self.constant_miss * (flash.read_misses - flash.sequential_read_misses)
            + self.ram_miss * (ram.read_misses + ram.write_misses)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """A variant of the cycle model, for the cores named."""

    name: str
    description: str
    cores: tuple[str, ...]
    timing: Timing | None = None
    memory: MemoryModel | None = None


_M7, _M4 = ("cortex-m7",), ("cortex-m4",)

ASSUMPTIONS = {
    assumption.name: assumption
    for assumption in (
        Assumption(
            name="stm32f746",
            # RM0385, section 3.3.2: 7 wait states at 216 MHz, lines of 256 bits; AN4667: caches of 4 KB, 64 KB DTCM.
            description="STM32F746 at 216 MHz: flash with 7 wait states behind 4 KB caches, 64 KB DTCM",
            cores=_M7,
            memory=MemoryModel(
                instruction_cache=CacheGeometry(line_bytes=32, sets=64, ways=2),
                data_cache=CacheGeometry(line_bytes=32, sets=32, ways=4),
                fetch_miss=16,
                sequential_fetch_miss=14,
                constant_miss=16,
                sequential_constant_miss=16,
                fast_ram_bytes=64 * 1024,
                ram_miss=10,
            ),
        ),
        Assumption(
            name="stm32h743",
            # RM0433, section 4.3.8: 4 wait states at 240 MHz AXI, the core at twice that; caches of 16 KB, 128 KB DTCM.
            description="STM32H743 at 480 MHz: flash with 4 wait states at 240 MHz behind 16 KB caches, 128 KB DTCM",
            cores=_M7,
            memory=MemoryModel(
                instruction_cache=CacheGeometry(line_bytes=32, sets=256, ways=2),
                data_cache=CacheGeometry(line_bytes=32, sets=128, ways=4),
                fetch_miss=26,
                sequential_fetch_miss=24,
                constant_miss=26,
                sequential_constant_miss=26,
                fast_ram_bytes=128 * 1024,
                ram_miss=16,
            ),
        ),
        Assumption(
            name="stm32l4r5",
            # RM0432, section 3.3.3 and 3.3.4: 5 wait states at 120 MHz; accelerator with 32 and 8 lines of 4 x 64 bits.
            description="STM32L4R5 at 120 MHz: flash with 5 wait states, accelerator with prefetch, SRAM without",
            cores=_M4,
            memory=MemoryModel(
                instruction_cache=CacheGeometry(line_bytes=32, sets=4, ways=8),
                data_cache=CacheGeometry(line_bytes=32, sets=1, ways=8),
                fetch_miss=6,
                sequential_fetch_miss=1,
                constant_miss=6,
                sequential_constant_miss=6,
                fast_ram_bytes=640 * 1024,
                ram_miss=0,
            ),
        ),
        Assumption(
            name="pessimistic-m7",
            description="Cortex-M7 with one load a cycle and one cycle more from a load to its use",
            cores=_M7,
            timing=PESSIMISTIC_CORTEX_M7_TIMING,
        ),
    )
}


def get_assumption(name: str, core: str) -> Assumption:
    """Return an assumption that can be made for a core.

    Raises:
        UtvmError: there is none of that name, or it is for other cores.
    """
    known = {key: value for key, value in ASSUMPTIONS.items() if core in value.cores}
    if name not in known:
        raise UtvmError(f"nothing is known to assume as '{name}' for {core}; known: {', '.join(known) or 'nothing'}")
    return known[name]
