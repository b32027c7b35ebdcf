"""The results folder: records, checkpoints and locks.

May import errors, files and study. Does not import torch, except in `checkpoint` and `weights`.
"""
