"""Where the Sun stood for each real image: tables, tags, and names with SPICE kernels."""
