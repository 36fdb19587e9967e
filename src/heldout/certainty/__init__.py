"""How sure: which learners can be told apart, whether probabilities hold, what covers the truth."""
