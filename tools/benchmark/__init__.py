"""What tools/benchmark.py measures, one file for each of its words, and the reference in PyTorch."""
