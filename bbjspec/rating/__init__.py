"""Blind rating: people see two answers to one prompt side by side, and say which is better."""
