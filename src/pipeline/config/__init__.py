"""Configuration: one pydantic model per section; `pipeline.config.root` puts them together.

Kept empty so that a stage which imports one section depends on that section's code only.
"""
