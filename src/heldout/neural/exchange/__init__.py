"""Networks of PyTorch become ours and go back: images.py -> tables.py -> tracing.py -> structure.py -> imported.py."""
