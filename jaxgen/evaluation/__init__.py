"""What a trained model has learned: its latent space, and what its images show."""
