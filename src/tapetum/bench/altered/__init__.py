"""Other versions of a tested image: corrupted, masked, embedded anew."""
