"""Lexical and dense evidence fused by learning: candidates, features, ranking, confidence."""
