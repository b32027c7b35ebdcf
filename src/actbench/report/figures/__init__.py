"""Data frames → matplotlib figures.

May import report.formatting, report.robustness, analysis and the packages below them.
"""
