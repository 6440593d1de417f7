"""A long job with progress, and the page's script: jobs/static/jobs/job.js."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest
from asgiref.sync import sync_to_async
from celery import _state
from django.contrib.auth.models import User
from django.test import Client
from websockets.sync.client import ClientConnection, connect

from tests.cookbook.browsing import until, visit

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from tests.cookbook.project import Project
    from tests.engines import Redis
    from wsconsumer.test import WebsocketClient
    from wsconsumer.test.live import LiveServer

MORE = {
    "pages/urls.py": """
from django.http import HttpResponse
from django.urls import path

PAGE = '''<progress></progress><button>cancel</button><script type="module">
import { watch } from "/static/jobs/job.js";
watch("/ws/jobs/1/", document.querySelector("progress"), document.querySelector("button"));
</script>'''

urlpatterns = [path("", lambda request: HttpResponse(PAGE))]
"""
}

RUNNING, DONE, FAILED, CANCELLED = "running", "done", "failed", "cancelled"


@pytest.fixture(autouse=True)
def _fresh_celery(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Celery forget the app and the tasks of this test's project."""
    monkeypatch.setattr(_state, "_on_app_finalizers", set())
    monkeypatch.setattr(_state, "_apps", WeakSet())
    monkeypatch.setattr(_state, "default_app", None)


@pytest.fixture
def jobs(loaded: Project, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of tasks, with pieces of work that take no time, and groups in this process."""
    settings.WSCONSUMER = {}
    tasks = loaded.module("jobs.tasks")
    monkeypatch.setattr(tasks, "work", lambda job, number: None)
    return tasks


@pytest.fixture
def ada(jobs: Any, websocket_client: WebsocketClient) -> User:
    """A user, as whom the client is logged in."""
    user = User.objects.create_user("ada")
    websocket_client.force_login(user)
    return user


@pytest.fixture
def job(ada: User, jobs: Any) -> Any:
    """A job of hers with two pieces."""
    return jobs.Job.objects.create(pk=1, owner=ada, total=2)


def content(state: str, done: int) -> dict[str, Any]:
    """Return what a page gets."""
    return {"state": state, "done": done, "total": 2}


def test_start(ada: User, jobs: Any, settings: Any) -> None:
    """The view makes a job, queues it, and says where its socket is."""
    settings.CELERY_TASK_ALWAYS_EAGER = True
    client = Client()
    assert client.post("/jobs/start/").status_code == 302
    client.force_login(ada)
    assert client.get("/jobs/start/").status_code == 405
    response = client.post("/jobs/start/")
    job = jobs.Job.objects.get()
    assert response.json() == {"socket": f"/ws/jobs/{job.pk}/"}
    assert (job.owner, job.state, job.done) == (ada, DONE, 100)


async def test_progress(job: Any, jobs: Any, websocket_client: WebsocketClient) -> None:
    """Each tab sees how it stands, then each step, and the end."""
    async with (
        websocket_client.connect("/ws/jobs/1/") as one,
        websocket_client.connect("/ws/jobs/1/") as other,
    ):
        for ws in (one, other):
            assert await ws.receive_json() == content("queued", 0)
        await sync_to_async(jobs.run)(1)
        for ws in (one, other):
            for step in (content(RUNNING, 0), content(RUNNING, 1), content(DONE, 2)):
                assert await ws.receive_json() == step
    async with websocket_client.connect("/ws/jobs/1/") as late:
        assert await late.receive_json() == content(DONE, 2)


async def test_cancel(job: Any, jobs: Any, websocket_client: WebsocketClient) -> None:
    """What is cancelled is not worked at; what has ended can't be cancelled."""
    async with websocket_client.connect("/ws/jobs/1/") as ws:
        assert await ws.receive_json() == content("queued", 0)
        await ws.send_json({"type": "cancel"})
        assert await ws.receive_json() == content(CANCELLED, 0)
        await ws.send_json({"type": "cancel"})
        await sync_to_async(jobs.run)(1)
        await ws.expect_nothing()


async def test_it_fails(
    job: Any, jobs: Any, websocket_client: WebsocketClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page is told that it failed, and the exception goes to Celery."""
    monkeypatch.setattr(jobs, "work", lambda job, number: 1 // (1 - number))
    async with websocket_client.connect("/ws/jobs/1/") as ws:
        await ws.receive_json()
        with pytest.raises(ZeroDivisionError):
            await sync_to_async(jobs.run)(1)
        assert [(await ws.receive_json())["state"] for _ in range(3)] == [RUNNING, RUNNING, FAILED]


async def test_a_worker_dies(job: Any, jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one goes on with the piece that was not finished."""
    begun = []

    def work(job: Any, number: int) -> None:
        begun.append(number)
        if begun == [0, 1]:
            raise SystemExit

    monkeypatch.setattr(jobs, "work", work)
    with pytest.raises(SystemExit):
        await sync_to_async(jobs.run)(1)
    await sync_to_async(jobs.run)(1)
    assert begun == [0, 1, 1]


async def test_the_job_of_another(job: Any, websocket_client: WebsocketClient) -> None:
    """It is not there for others."""
    await websocket_client.aforce_login(await User.objects.acreate(username="bob"))
    async with websocket_client.connect("/ws/jobs/1/") as ws:
        assert ws.denial is not None
        assert ws.denial.status == 404


def test_in_a_browser(site: LiveServer, browser: Chrome, job: Any, jobs: Any) -> None:
    """The page shows how far it is; its button cancels, and is out of use after the end."""
    progress = "const p = document.querySelector('progress'); return [p.title, p.value]"
    visit(browser, site, "/", job.owner)
    until(browser, progress, ["queued", 0])
    job.change(state=RUNNING, done=1)
    until(browser, progress, [RUNNING, 1])
    browser.execute_script("document.querySelector('button').click()")
    until(browser, progress, [CANCELLED, 1])
    assert browser.execute_script("return document.querySelector('button').disabled")


PREPARE = """
import sys
sys.stderr = sys.stdout
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from jobs.tasks import Job, run
call_command("migrate", run_syncdb=True, verbosity=0)
call_command("check")
ada = User.objects.create_user("ada")
client = Client()
client.force_login(ada)
jobs = [Job.objects.create(owner=ada, total=total) for total in (10_000, 2)]
"""


def test_a_worker(project: Project, redis: Redis) -> None:
    """Progress reaches the page, a process that dies is replaced, a cancellation comes through."""
    env = {"REDIS_URL": redis.url, "PYTHONWARNINGS": "default"}
    start = "for job in jobs: run.delay_on_commit(job.pk)\nprint(client.cookies['sessionid'].value)"
    session = project.shell(f"{PREPARE}\n{start}", **env).split()[-1]
    celery = ("-A", "mysite", "worker")  # celery -A mysite worker
    options = ("--concurrency=1", "--loglevel=info", "--without-mingle", "--without-gossip")
    with (
        project.running("celery", *celery, *options, **env) as worker,
        project.serve(**env) as address,
    ):

        def watch(pk: int) -> ClientConnection:
            headers = {"Cookie": f"sessionid={session}"}
            url = f"ws://{address}/ws/jobs/{pk}/"
            return connect(url, additional_headers=headers, proxy=None, open_timeout=60)

        with watch(1) as long, watch(2) as short:
            while (before := json.loads(long.recv(60))["done"]) < 2:
                pass
            worker.kill_child()
            while (after := json.loads(long.recv(60))["done"]) < 5:
                assert after >= before
            long.send('{"type": "cancel"}')
            while json.loads(long.recv(60))["state"] != CANCELLED:
                pass
            while json.loads(short.recv(60))["state"] != DONE:
                pass
        worker.wait_for(r"(?s)run\S+ succeeded.*run\S+ succeeded")
        assert "WorkerLostError" in worker.output


def test_the_memory_backend_is_not_silent(project: Project) -> None:
    """Without an engine behind the groups, a worker's broadcast and the checks say so."""
    settings = project.directory / "mysite" / "settings.py"
    settings.write_text(f"{settings.read_text()}\nWSCONSUMER = {{}}\n")
    told = project.shell(f"{PREPARE}\nrun(2)")
    assert "wsconsumer.W003" in told
    assert "A broadcast was made in a process that serves no websockets" in told
