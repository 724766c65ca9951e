"""Numbers to pictures: one HTML page, a trace for Perfetto, words on a terminal."""

from sim.report.html import write_report
from sim.report.perfetto import write_trace
from sim.report.terminal import print_summary

__all__ = ["print_summary", "write_report", "write_trace"]
