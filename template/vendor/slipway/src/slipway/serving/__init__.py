"""Answering requests over HTTP, and predicting files of rows."""
