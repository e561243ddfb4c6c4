"""Common parts of all jobs: progress, run record, device, seeds and machine fingerprint."""
