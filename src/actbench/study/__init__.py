"""What a study asks for, as plain values: fields, specs, TOML, and the identity of a trial.

May import errors and files. Does not import torch.
"""
