"""The settings of every program and model, the flags that set them, and the flags that are refused."""
