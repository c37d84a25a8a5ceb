"""From images to batches: sources, table, augment and pipeline, in this order."""
