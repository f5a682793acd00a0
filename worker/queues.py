"""The broker as both ends see it: which queue a run goes to, and the settings that keep a hint a hint. Pure."""

TASK = "chartfleet.run"
# A person's resync is drained first; each class of work has its own queue, so that none starves another.
REQUESTS, CLEANUP, SYNC, FILES = "requests", "cleanup", "sync", "files"
QUEUES = (REQUESTS, CLEANUP, SYNC, FILES)
TIME_LIMIT = 1_800  # seconds after which a task's process is replaced
VISIBILITY = 2 * TIME_LIMIT


def queue_of(job: str, cause: str) -> str:
    """The queue of a run."""
    if cause == "request":
        return REQUESTS
    return {"delete": CLEANUP, "files": FILES}.get(job, SYNC)


def settings(broker_url: str) -> dict[str, object]:
    """Celery's configuration. Acknowledged late, one at a time, no results: runs stand in PostgreSQL, which also recovers them."""
    return {
        "broker_url": broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "queue_order_strategy": "priority",
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "health_check_interval": 25,
        },
        "task_acks_late": True,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_time_limit": TIME_LIMIT,
        "task_create_missing_queues": True,
        "task_default_queue": SYNC,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": False,
        "worker_send_task_events": False,
        "worker_max_memory_per_child": 400_000,  # KiB
        "event_queue_expires": 60,
        "worker_soft_shutdown_timeout": 3,  # of SIGQUIT; what is cut off is queued again from PostgreSQL
    }
