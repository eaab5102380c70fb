"""Tables, pictures, text and JSON for people and programs."""

from utvm.report.boards import board_json, board_text, boards_json, boards_table
from utvm.report.figures import (
    CompileReport,
    RecordsUsed,
    RunReport,
    compiled_json,
    compiled_text,
    read_labels,
    records_used,
    run_json,
    run_text,
    scores,
)
from utvm.report.frontier import FrontierReport, PlanPoint, frontier_json, frontier_svg, frontier_table
from utvm.report.plan import plan_svg, plan_table, plan_text
from utvm.report.profile import OperatorProfile, ProfileReport, profile_html, profile_json, profile_table
from utvm.report.tables import print_table, write_bytes, write_text
from utvm.report.tuning import (
    LayerTuning,
    TuningProgress,
    TuningReport,
    count_text,
    records_table,
    space_json,
    space_table,
    trials_tables,
    tuning_json,
    tuning_table,
)
from utvm.report.tuning_page import knob_worth, tuning_html

__all__ = [
    "CompileReport",
    "FrontierReport",
    "LayerTuning",
    "OperatorProfile",
    "PlanPoint",
    "ProfileReport",
    "RecordsUsed",
    "RunReport",
    "TuningProgress",
    "TuningReport",
    "board_json",
    "board_text",
    "boards_json",
    "boards_table",
    "compiled_json",
    "compiled_text",
    "count_text",
    "frontier_json",
    "frontier_svg",
    "frontier_table",
    "knob_worth",
    "plan_svg",
    "plan_table",
    "plan_text",
    "print_table",
    "profile_html",
    "profile_json",
    "profile_table",
    "read_labels",
    "records_table",
    "records_used",
    "run_json",
    "run_text",
    "scores",
    "space_json",
    "space_table",
    "trials_tables",
    "tuning_html",
    "tuning_json",
    "tuning_table",
    "write_bytes",
    "write_text",
]
