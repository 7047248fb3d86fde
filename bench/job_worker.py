"""A worker for `make bench`: at each line it is sent, does the jobs that wait in lane `default`.

    python -m bench.job_worker fork        the product's worker: a work-horse forked for each job
    python -m bench.job_worker in-process  the same jobs in its own process, as RQ does in its SimpleWorker

It reads its settings from the environment, says "ready", and after each time how many seconds that took.
"""

import json
import sys
import time

from rq.worker import WorkerStatus

from pdsapp import create_app, tasks
from pdsapp.config import read_settings
from pdsapp.dt_service import load_service
from pdsapp.scheduling import queue
from pdsapp.scheduling.worker import ANSWER_SECONDS, TwinWorker

LANE = "default"


class InProcessWorker(TwinWorker):
    """Runs jobs itself. A job that leaks, hangs or dies takes the worker with it."""

    def execute_job(self, job: queue.LaneJob, lane: queue.LaneQueue) -> None:
        """Does one job, as RQ's SimpleWorker does it."""
        execution = self.prepare_execution(job)
        self.perform_job(job, lane, execution)
        self.set_state(WorkerStatus.IDLE)


KINDS = {"fork": TwinWorker, "in-process": InProcessWorker}


def main(kind: str) -> None:
    """Ends with its standard input."""
    settings = read_settings()
    with create_app(settings, with_web=False).app_context():
        load_service(settings)
        tasks.generate_attempts(LANE)  # nothing is due: what is made once a process is made here
        connection = queue.connection(settings, answer_seconds=ANSWER_SECONDS)
        worker = KINDS[kind]([LANE], connection, settings)
        print("ready", flush=True)
        for _ in sys.stdin:
            began = time.perf_counter()
            worker.work(burst=True)
            print(json.dumps(time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
