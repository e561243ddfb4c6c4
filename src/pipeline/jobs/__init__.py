"""What every job needs: progress, the record of a run, devices and seeds."""
