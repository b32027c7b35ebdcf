"""Records → data frames → statistics and verdicts. Makes no documents.

May import study, store and the packages below them.
"""
