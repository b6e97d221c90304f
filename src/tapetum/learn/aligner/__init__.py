"""Images and words in one space: what an aligner is trained for, and the ways to fit it."""
