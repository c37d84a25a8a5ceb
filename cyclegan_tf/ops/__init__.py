"""Operations of TensorFlow that the package adds: stateless integers, and the order of what is computed."""
