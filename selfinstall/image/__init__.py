"""The image file: its label, its formats, its name, and what one holds."""
