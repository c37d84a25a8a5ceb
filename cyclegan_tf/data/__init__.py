"""Images to batches: sources, preprocess, augment, pipeline, in this order."""
