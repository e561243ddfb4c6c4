"""Scores of predictors: conditions, metrics, intervals and tables."""
