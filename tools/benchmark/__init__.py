"""The benchmarks of tools/benchmark.py, one file for each, and the reference in PyTorch."""
