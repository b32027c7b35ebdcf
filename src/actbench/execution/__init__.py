"""Many trials: the plan, worker processes, Ray tasks, learning-rate tuning.

May import everything but session, api and cli.
"""
