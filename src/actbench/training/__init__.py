"""One trial: train its network, then measure it.

May import corruptions, attacks, models, data, store, study and the packages below them.
"""
