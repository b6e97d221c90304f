"""A model as a folder that runs without Tapetum and without torch."""
