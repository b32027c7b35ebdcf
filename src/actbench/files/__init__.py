"""Paths, atomic writes, and the cache of images, data sets and compiled kernels.

May import errors. Does not import torch.
"""
