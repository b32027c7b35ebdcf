"""The command line: options, progress and summaries in the terminal.

May import everything; nothing imports it.
"""
