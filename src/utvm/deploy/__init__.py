"""Self-hosted models: C libraries, firmware, and checks that they are what they claim."""

from utvm.deploy.directory import write_beside, write_directory
from utvm.deploy.exporting import BudgetError, Export, export
from utvm.deploy.firmware import MLPERF_TASKS, Firmware, FirmwareError, console_of, mlperf_firmware, shell_firmware
from utvm.deploy.flashing import Programming, flash, plan_flash
from utvm.deploy.manifest import MANIFEST_FILE, Manifest, ManifestError
from utvm.deploy.projects import PROJECTS, project
from utvm.deploy.replacing import DirectoryError
from utvm.deploy.text import export_text, verification_text
from utvm.deploy.verifying import Difference, MachineCheck, Verification, VerifyError, verify

__all__ = [
    "MANIFEST_FILE",
    "MLPERF_TASKS",
    "PROJECTS",
    "BudgetError",
    "Difference",
    "DirectoryError",
    "Export",
    "Firmware",
    "FirmwareError",
    "MachineCheck",
    "Manifest",
    "ManifestError",
    "Programming",
    "Verification",
    "VerifyError",
    "console_of",
    "export",
    "export_text",
    "flash",
    "mlperf_firmware",
    "plan_flash",
    "project",
    "shell_firmware",
    "verification_text",
    "verify",
    "write_beside",
    "write_directory",
]
