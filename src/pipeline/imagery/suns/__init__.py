"""The Sun's direction of each real image: from tables, tags, or names with SPICE kernels."""
