"""A simulated Cortex-M chip, from the JTAG pins to the instructions, for tests.

From outside in: `server` (a process with OpenOCD's remote_bitbang protocol) or `probe` (a debug probe of pyOCD);
`pins` and `tap` (JTAG), `debug_port` and `access_port` (Arm ADIv5), `chip` (memories, the private peripheral bus),
`core_debug`, `breakpoints`, `trace_unit`, `rom_table`, `system_control` (its registers), `core` and `exceptions` (what
the core does), `engine` (its instructions, by Unicorn). `parts` describes the chips, `damage` what goes wrong.

One part has more than its core: `part_peripherals`, `flash_controller`, and what `tests/support` knows of oscillators
and UARTs.

Not simulated: caches but for stale code, the MPU, interrupts, wait states, alignment faults, and cycles: the cycle
counter counts instructions.
"""
