"""The process and its machine: files, hardware, signals, what is printed."""
