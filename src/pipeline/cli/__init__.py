"""The command ``lunar-bridge``: runs the workflow or single tools."""
