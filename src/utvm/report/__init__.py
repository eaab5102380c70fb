"""Tables and pictures for people."""

from utvm.report.plan import plan_svg, plan_table, plan_text

__all__ = ["plan_svg", "plan_table", "plan_text"]
