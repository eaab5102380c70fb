"""Boards in use: the debug link, the session, faults."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utvm.device.arrays import FunctionRun
    from utvm.device.attach import AttachedTarget, link_opener, open_session
    from utvm.device.check import BoardCheck, check_board, check_connected
    from utvm.device.execution import CallInterruptedError, CallTimeoutError, Measurement, StackOverflowError
    from utvm.device.faults import TargetFaultError
    from utvm.device.firmware import build_image
    from utvm.device.gdb_link import GdbRemoteLink
    from utvm.device.link import (
        Count,
        DebugLink,
        DeviceError,
        FlashProgrammer,
        LinkError,
        LinkGarbledError,
        LinkLostError,
        LinkRefusedError,
        LinkTimeoutError,
        Target,
        WrappingTarget,
        check_range,
    )
    from utvm.device.loader import VerificationError
    from utvm.device.mcycle import begin_mcycle, read_mcycle
    from utvm.device.openocd_link import OpenOcdLink
    from utvm.device.openocd_server import OpenOcdServer
    from utvm.device.process import ChildProcess
    from utvm.device.pyocd_link import PyOcdLink
    from utvm.device.session import Session
    from utvm.device.verified_link import VerifiedLink
else:
    from utvm.lazy import exports

    __getattr__ = exports(__name__, __file__)

__all__ = [
    "AttachedTarget",
    "BoardCheck",
    "CallInterruptedError",
    "CallTimeoutError",
    "ChildProcess",
    "Count",
    "DebugLink",
    "DeviceError",
    "FlashProgrammer",
    "FunctionRun",
    "GdbRemoteLink",
    "LinkError",
    "LinkGarbledError",
    "LinkLostError",
    "LinkRefusedError",
    "LinkTimeoutError",
    "Measurement",
    "OpenOcdLink",
    "OpenOcdServer",
    "PyOcdLink",
    "Session",
    "StackOverflowError",
    "Target",
    "TargetFaultError",
    "VerificationError",
    "VerifiedLink",
    "WrappingTarget",
    "begin_mcycle",
    "build_image",
    "check_board",
    "check_connected",
    "check_range",
    "link_opener",
    "open_session",
    "read_mcycle",
]
