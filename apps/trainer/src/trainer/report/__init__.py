"""Report runs and studies on a self-contained page that opens with findings in sentences."""

from trainer.report.export import write_exports
from trainer.report.findings.runs import describe_run, describe_runs
from trainer.report.history import RunHistory, read_history
from trainer.report.page import render_page
from trainer.report.serve import build_server
from trainer.report.study_page import read_trials, render_study
from trainer.report.table import print_table, table_rows

__all__ = [
    "RunHistory",
    "build_server",
    "describe_run",
    "describe_runs",
    "print_table",
    "read_history",
    "read_trials",
    "render_page",
    "render_study",
    "table_rows",
    "write_exports",
]
