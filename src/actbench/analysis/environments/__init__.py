"""Which trials were computed in another environment, and how it differs."""
