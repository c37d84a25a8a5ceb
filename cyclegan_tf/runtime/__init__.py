"""The process and its machine: exit codes, files, hardware, signals, what is printed."""
