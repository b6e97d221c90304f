"""The steps of an ingest: take, look, veil, and resolve to records and splits."""
