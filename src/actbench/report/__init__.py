"""Data frames → tables, figures, Markdown, LaTeX and the HTML report.

May import analysis, corruptions, data, store, study and errors; not training and not execution.
"""
