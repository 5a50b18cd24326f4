"""The workers: pure cores (text, encoder, matching, decisions), stages, and the Celery edge."""
