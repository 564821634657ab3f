"""What a row looks like: fields and their rules, rows and columns, files and frames held against them."""
