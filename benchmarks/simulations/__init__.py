"""The worlds of `benchmarks/truth.py`: each part's module has `cells(trials, *, peers)`, which yields its rows."""
