"""What all tests have in common: records that a developer has made by tuning change no result."""

import os

os.environ["UTVM_RECORDS"] = "/nonexistent/records.sqlite"
