"""From a teacher to targets: what a student is told of each image."""
