"""The Celery application: its settings, each with its reason."""

import os
import sys

from celery import Celery

from aparella.errors import ConfigurationError
from aparella.settings import Settings, load
from aparella.workers import liveness, transport
from aparella.workers.contracts import QUEUES, TASK


def make_app(settings: Settings) -> Celery:
    """Configure Celery for Redis as a carrier of hints.

    Messages say only which chunk may be worth a claim; PostgreSQL owns the state. Losing every
    message, or getting each ten times, changes no result.
    """
    transport.install()
    app = Celery("aparella", broker=settings.redis_url, backend=None)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],  # no pickle from a queue that others may write to
        task_ignore_result=True,
        # The lease is the recovery. Late acks would redeliver by a visibility timeout that knows
        # nothing of heartbeats, and never bound a poisonous message.
        task_acks_late=False,
        # A worker takes a message only when a process is free for it: none waits behind a long
        # chunk while another machine idles.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # No fork after torch, OpenMP and the tokenizers have threads.
        worker_pool_start_method="spawn",
        # A spawned process imports torch before it reports: without patience the pool would kill
        # and respawn it for ever.
        worker_proc_alive_timeout=180.0,
        worker_max_tasks_per_child=2_000,  # bounds what a leak in a library can grow to
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,  # logs write to standard error themselves
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_limit=2,
        # Without these, publishing to a frozen Redis hangs for minutes.
        broker_transport_options={
            "socket_timeout": 5.0,
            "socket_connect_timeout": 5.0,
            "socket_keepalive": True,
            "health_check_interval": 15,
        },
        broker_pool_acquire_timeout=2.0,
        task_publish_retry=False,  # the reconciler is the retry
        task_default_queue=QUEUES[0],
        task_create_missing_queues=True,
        task_routes={},
        imports=("aparella.workers.tasks",),
    )
    liveness.install(app, settings.pulse)
    return app


def _environment() -> Settings:
    """The settings of the process that imports this; it is its entry point."""
    if not os.environ.get("DATABASE_URL"):
        return Settings.model_construct(redis_url="", pulse="")
    try:
        return load()
    except ConfigurationError as error:
        sys.exit(f"aparella: {error}")


app = make_app(_environment())
"""What `celery -A` and the spawned pool processes import."""

__all__ = ["TASK", "app", "make_app"]
