"""Many trials: the plan, worker processes, Ray tasks, learning-rate tuning.

May import everything except session, api and cli.
"""
