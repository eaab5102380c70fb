"""Tables, pictures, text and JSON for people and programs."""

from utvm.report.boards import board_json, board_text, boards_json, boards_table
from utvm.report.figures import (
    CompileReport,
    RunReport,
    compiled_json,
    compiled_text,
    read_labels,
    run_json,
    run_text,
    scores,
)
from utvm.report.plan import plan_svg, plan_table, plan_text
from utvm.report.profile import OperatorProfile, ProfileReport, profile_html, profile_json, profile_table
from utvm.report.tables import print_table, write_text

__all__ = [
    "CompileReport",
    "OperatorProfile",
    "ProfileReport",
    "RunReport",
    "board_json",
    "board_text",
    "boards_json",
    "boards_table",
    "compiled_json",
    "compiled_text",
    "plan_svg",
    "plan_table",
    "plan_text",
    "print_table",
    "profile_html",
    "profile_json",
    "profile_table",
    "read_labels",
    "run_json",
    "run_text",
    "scores",
    "write_text",
]
