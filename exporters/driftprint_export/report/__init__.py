"""The report of an export: one HTML file with its pictures in it."""

from driftprint_export.report.page import write_report

__all__ = ["write_report"]
