"""Data frames → matplotlib figures.

May import report.formatting, report.sections, analysis and the packages below them.
"""
