"""Pixels through frozen towers: preprocessing, the fastest way to run them, features kept row by row."""
