"""The dataset: reading its rows, what is wrong with them, how they are mended, chosen and split."""
