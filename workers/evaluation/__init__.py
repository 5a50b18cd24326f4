"""How good a model is, told without leaks: the split, ranks, figures, the gate, drift, the card."""
