"""The command ``lunar-bridge``: a thin face of the workflow and of single tools."""
