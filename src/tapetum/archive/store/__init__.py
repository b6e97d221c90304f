"""What an archive is on disk: vault, catalog, snapshot and the seal over them."""
