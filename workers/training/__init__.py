"""From known pairs to a fine-tuned model: pure code, without Celery, FastAPI or a database.

`recipe` and `pairs` import no torch, so that the API can check a request with them.
"""
