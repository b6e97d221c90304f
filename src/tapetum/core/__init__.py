"""Types, families, configuration, artefacts and errors: what every other package stands on. No torch."""
