"""The one training loop and what it needs: batches, optimiser, checkpoints, several processes, memory."""
