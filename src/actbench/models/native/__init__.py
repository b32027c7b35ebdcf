"""Convolution and max-pool as one operation: C++ source, compiled at first use.

May import errors and files.
"""
