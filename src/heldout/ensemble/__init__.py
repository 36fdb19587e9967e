"""Ensembles over any base learner, and why they help."""
