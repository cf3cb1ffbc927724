"""Styles: optimizers that people already have, in the forms they were written in, run unchanged."""
