"""Name × severity × generator → corrupted images; the published corrupted files.

May import study, data and the packages below them.
"""
