"""A network built around an activation: activations, networks, initial weights, native kernels.

May import errors, files and study.
"""
