"""Networks of PyTorch become ours and go back: tables.py -> tracing.py -> structure.py -> imported.py."""
