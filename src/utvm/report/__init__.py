"""Tables, pictures, text and JSON for people and programs."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utvm.report.boards import board_json, board_text, boards_json, boards_table
    from utvm.report.cost import (
        CostReport,
        OperatorCost,
        Refused,
        comparison_json,
        comparison_table,
        cost_json,
        cost_table,
    )
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
    from utvm.report.pipeline import TURN_TOLERANCE, PipelineAnswer, PipelineReport, pipeline_text
    from utvm.report.plan import plan_svg, plan_table, plan_text
    from utvm.report.profile import OperatorProfile, ProfileReport, profile_html, profile_json, profile_table
    from utvm.report.quantize import QuantizeReport, quantize_json, quantize_line, quantize_text
    from utvm.report.quantize_page import quantize_html
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
else:
    from utvm.lazy import exports

    __getattr__ = exports(__name__, __file__)

__all__ = [
    "TURN_TOLERANCE",
    "CompileReport",
    "CostReport",
    "FrontierReport",
    "LayerTuning",
    "OperatorCost",
    "OperatorProfile",
    "PipelineAnswer",
    "PipelineReport",
    "PlanPoint",
    "ProfileReport",
    "QuantizeReport",
    "RecordsUsed",
    "Refused",
    "RunReport",
    "TuningProgress",
    "TuningReport",
    "board_json",
    "board_text",
    "boards_json",
    "boards_table",
    "comparison_json",
    "comparison_table",
    "compiled_json",
    "compiled_text",
    "cost_json",
    "cost_table",
    "count_text",
    "frontier_json",
    "frontier_svg",
    "frontier_table",
    "knob_worth",
    "pipeline_text",
    "plan_svg",
    "plan_table",
    "plan_text",
    "print_table",
    "profile_html",
    "profile_json",
    "profile_table",
    "quantize_html",
    "quantize_json",
    "quantize_line",
    "quantize_text",
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
