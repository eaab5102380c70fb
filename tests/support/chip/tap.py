"""The JTAG test access port (IEEE 1149.1) of a debug port (Arm IHI 0031, B3): whole runs of shifts at a time."""

from __future__ import annotations

from tests.support.chip.debug_port import RDBUFF, Ack, DebugPort

(RESET, IDLE, SELECT_DR, CAPTURE_DR, SHIFT_DR, EXIT1_DR, PAUSE_DR, EXIT2_DR, UPDATE_DR, SELECT_IR, CAPTURE_IR,
 SHIFT_IR, EXIT1_IR, PAUSE_IR, EXIT2_IR, UPDATE_IR) = range(16)  # fmt: skip
_NEXT = (
    (IDLE, RESET), (IDLE, SELECT_DR), (CAPTURE_DR, SELECT_IR), (SHIFT_DR, EXIT1_DR), (SHIFT_DR, EXIT1_DR),
    (PAUSE_DR, UPDATE_DR), (PAUSE_DR, EXIT2_DR), (SHIFT_DR, UPDATE_DR), (IDLE, SELECT_DR), (CAPTURE_IR, RESET),
    (SHIFT_IR, EXIT1_IR), (SHIFT_IR, EXIT1_IR), (PAUSE_IR, UPDATE_IR), (PAUSE_IR, EXIT2_IR), (SHIFT_IR, UPDATE_IR),
    (IDLE, SELECT_DR),
)  # fmt: skip

_ABORT, _DPACC, _APACC, _IDCODE = 0x8, 0xA, 0xB, 0xE
_IR_BITS, _IR_CAPTURE = 4, 1
_ACK_OK_FAULT, _ACK_WAIT = 0b010, 0b001


class Tap:
    """One TAP, alone in its chain. `tdo` is the level of its output."""

    def __init__(self, port: DebugPort, idcode: int) -> None:
        self._port = port
        self._idcode = idcode
        self._accepts = True
        self._register = 0
        self._length = 1
        self.reset()

    def reset(self) -> None:
        """Go to Test-Logic-Reset."""
        self.state = RESET
        self._instruction = _IDCODE

    @property
    def tdo(self) -> int:
        """The level of TDO."""
        return self._register & 1

    def clock(self, tms: int, tdi: int) -> None:
        """Give one rising edge of TCK."""
        state = self.state
        if state in (SHIFT_DR, SHIFT_IR):
            self._register = self._register >> 1 | tdi << self._length - 1
        elif state == CAPTURE_DR:
            self._capture()
        elif state == CAPTURE_IR:
            self._register, self._length = _IR_CAPTURE, _IR_BITS
        self.state = _NEXT[state][tms]
        if self.state == UPDATE_DR:
            self._update()
        elif self.state == UPDATE_IR:
            self._instruction = self._register
        elif self.state == RESET:
            self._instruction = _IDCODE

    def shift(self, bits: int, count: int) -> int:
        """Shift `count` bits with TMS low, the lowest first, in a shift state; return the bits of TDO, in order."""
        combined = self._register | bits << self._length
        self._register = combined >> count
        return combined & ((1 << count) - 1)

    def _capture(self) -> None:
        if self._instruction in (_DPACC, _APACC):
            answer = self._port.poll()
            self._accepts = answer is Ack.OK
            ack = _ACK_OK_FAULT if self._accepts else _ACK_WAIT
            self._register, self._length = ack | self._port.result << 3, 35
        elif self._instruction == _ABORT:
            self._register, self._length = 0, 35
        elif self._instruction == _IDCODE:
            self._register, self._length = self._idcode, 32
        else:
            self._register, self._length = 0, 1  # BYPASS

    def _update(self) -> None:
        reads, register, value = self._register & 1, (self._register >> 1 & 3) << 2, self._register >> 3
        port = self._port
        if self._instruction == _ABORT:
            port.abort(value)
        elif not self._accepts:
            return
        elif self._instruction == _DPACC:
            if not reads:
                port.write(register, value, clears=True)
            elif register != RDBUFF:
                port.result = port.read(register)
        elif self._instruction == _APACC:
            if reads:
                port.read_access_port(register)
            else:
                port.write_access_port(register, value)
