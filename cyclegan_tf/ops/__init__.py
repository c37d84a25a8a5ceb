"""TensorFlow operations that the package adds: random integers from seeds, and the order of computation."""
