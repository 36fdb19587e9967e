"""Kernels of our own that XLA's programs on the CPU call.

tiles.py (products in registers) and functions.py (exponentials) -> handler.py (how XLA calls, and lends its threads) ->
pooling.py (beside a convolution) -> correlation.py (convolutions), normalization.py (batch norm), recurrence.py
(recurrent layers), attention.py, cross_entropy.py, descent.py (Adam); amx.py (matrix units) -> products.py -> affine.py
-> perceptron.py.
"""
