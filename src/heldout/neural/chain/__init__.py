"""Chains of dense layers on the CPU, trained by a kernel of our own instead of XLA's."""
