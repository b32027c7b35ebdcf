"""The command line: options, progress and summaries in the terminal.

May import everything; only ``actbench.__main__`` imports it.
"""
