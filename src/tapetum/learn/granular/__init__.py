"""Losses on the parts of images and texts: local features, pieces of reports, words, nodes of the tree."""
