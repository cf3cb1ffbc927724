"""Callbacks: everything of training that is not the loop, one idea a file."""
