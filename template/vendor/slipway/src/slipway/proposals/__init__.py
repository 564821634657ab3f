"""What a finding of the monitor becomes: a change that somebody reviews."""
