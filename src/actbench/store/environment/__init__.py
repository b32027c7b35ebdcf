"""What `environment.json` holds: a description of each environment that computed trials."""
