"""What the authors of CycleGAN, pix2pix and CUT have published, and how it becomes runs and data sets."""
