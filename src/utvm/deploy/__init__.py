"""Self-hosted models: C libraries, firmware, and checks that they are what they claim."""

from utvm.deploy.export import BudgetError, Export, export
from utvm.deploy.manifest import MANIFEST_FILE, Manifest, ManifestError
from utvm.deploy.text import export_text, verification_text
from utvm.deploy.verify import Check, Difference, Verification, VerifyError, verify

__all__ = [
    "MANIFEST_FILE",
    "BudgetError",
    "Check",
    "Difference",
    "Export",
    "Manifest",
    "ManifestError",
    "Verification",
    "VerifyError",
    "export",
    "export_text",
    "verification_text",
    "verify",
]
