"""Raw data on its way to training and test rows: stages, remotes, labels."""
