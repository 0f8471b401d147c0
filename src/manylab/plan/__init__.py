"""Compares what should be with what is, and says the difference. Pure."""
