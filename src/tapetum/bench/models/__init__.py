"""What is put to the test: adapters fitted here, a checkpoint, a control, a smaller model."""
