"""Records → data frames → statistics and verdicts. Writes no text and no files.

May import study, store and the packages below them.
"""
