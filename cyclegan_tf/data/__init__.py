"""Images to batches: sources, table, augment, pipeline, in this order."""
