"""What should run in an environment, and making it so."""
