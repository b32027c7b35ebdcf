"""Adversarial attacks within ε, and the check for masked gradients.

May import study, store, models and the packages below them.
"""
