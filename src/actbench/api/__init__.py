"""What users import: run a study, read its results, measure any network, follow a run.

May import all packages but cli. ``actbench`` itself has the most important names.
"""
