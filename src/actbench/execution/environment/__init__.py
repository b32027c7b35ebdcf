"""What this process computes with: versions, processor, compiler, GPUs."""
