"""Convolution with max-pool, and batches of images: C++ sources, compiled at first use.

May import errors and files.
"""
