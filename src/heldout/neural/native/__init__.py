"""Kernels of our own that XLA's programs on the CPU call: tiles.py (products) -> handler.py (how XLA calls and lends
threads) -> correlation.py (what convolutions are made of)."""
