import time

from celery import shared_task

from .models import Job


@shared_task(acks_late=True, reject_on_worker_lost=True)
def run(pk):
    job = Job.objects.get(pk=pk)
    try:
        for number in range(job.done, job.total):
            if not job.change(state=Job.State.RUNNING, done=number):
                return
            work(job, number)
        job.change(state=Job.State.DONE, done=job.total)
    except Exception:
        job.change(state=Job.State.FAILED)
        raise


def work(job, number):
    time.sleep(0.1)
