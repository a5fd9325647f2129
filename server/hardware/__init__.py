"""What the machine has (devices, memory) and what a model needs of it."""
