"""heldout: from a problem statement to an honest test score."""
