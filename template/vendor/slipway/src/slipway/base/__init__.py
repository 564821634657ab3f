"""What everything stands on: errors, files, other programs, requests, and what other distributions plug in."""
