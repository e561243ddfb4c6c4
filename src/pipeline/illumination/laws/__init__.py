"""Reflectance laws, one module each; `pipeline.config.photometry.LAWS` lists them.

Each has a function ``radiance_factor(mu0, mu, phase, section)`` that returns pi r. Its tensors broadcast to
(..., N, Y, X): mu0 = max(0, cos i), mu = cos e > 0, and the phase angle g, radians; `section` is the section
``photometry``. The module of a stage's law is part of the code that enters the stage's key.
"""
