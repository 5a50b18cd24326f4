"""The HTTP interface: writes and reads rows, and imports nothing heavier than that takes."""
