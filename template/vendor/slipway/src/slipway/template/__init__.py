"""Following the template that the project was made from."""
