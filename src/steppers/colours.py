"""The colours of all pictures."""

# Okabe and Ito's, apart also for colour-blind eyes; their yellow is too faint on white.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000")
