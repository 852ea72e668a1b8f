"""GET /tasks and /tasks/{id}: lists, pages, windows of time, forgetting; POST /v1/engine/control/."""

import base64
import time
from datetime import datetime, timedelta

import pytest

from tests.api.test_engine_generate import URL, made, record
from tests.api.test_text_to_image import poll

CONTROL = "/v1/engine/control/"
KEYS = ["history", "current", "pending"]
EMPTY = {"history": [], "current": [], "pending": []}
LONG = {"prompt": "slow", "overwrite_step": 200, "async_process": True}


UNREADABLE = [
    {"start_at": "yesterday"},
    {"start_at": "2024-06-30"},
    {"start_at": "2024-06-30 17:57:07"},
    {"start_at": "2024-06-30T17:57:07", "end_at": "never"},
    {"start_at": "2024-13-30T17:57:07"},
    {"start_at": "2024-06-30T17:57:07", "end_at": "2024-06-29T17:57:07"},
    {"start_at": "2999-06-30T17:57:07"},
    {"end_at": "2024-06-29T17:57:07"},
]


def moment(milliseconds: float, **later: float) -> str:
    return (datetime.fromtimestamp(milliseconds / 1000) + timedelta(**later)).isoformat()


def ids(records: list[dict]) -> list[str]:
    return [one["task_id"] for one in records]


@pytest.fixture
def five(make_client):
    """A client whose server has five finished tasks, oldest first."""
    client = make_client()
    return client, [made(client, prompt=f"p{number}", overwrite_step=1)["task_id"] for number in range(5)]


class TestLists:
    def test_the_three_keys_are_always_there(self, make_client):
        client = make_client()
        for query in ("", "all", "history", "current", "pending", "ALL", "nothing"):
            for params in ({"query": query}, {"query": query, "page": 3, "page_size": 0}):
                assert client.get("/tasks", params=params).json() == EMPTY, query

    def test_waiting_running_and_finished_stand_in_their_own_lists(self, make_client):
        client = make_client()
        done = made(client)["task_id"]
        running, first, second = [client.post(URL, json=LONG).json()["task_id"] for _ in range(3)]
        record(client, running, ("running",))
        lists = client.get("/tasks").json()
        assert list(lists) == KEYS
        assert [ids(lists[key]) for key in KEYS] == [[done], [running], [first, second]]
        assert "preview" in lists["current"][0]
        pending = lists["pending"][0]
        assert (pending["task_status"], pending["progress"], pending["result"]) == ("pending", 0, [])
        assert (pending["start_mills"], pending["finish_mills"]) == (-1, -1)
        assert ids(client.get("/tasks", params={"query": "pending", "page_size": 1, "page": 1}).json()["pending"]) == [
            second
        ]
        assert client.get("/tasks", params={"query": "pending", "page": 9}).json()["pending"] == []
        assert client.get("/tasks", params={"query": "current"}).json()["history"] == []
        client.post("/queue", json={"clear": True})
        client.post(CONTROL, params={"action": "stop"})

    def test_history_comes_newest_first_page_by_page(self, five):
        client, all_ids = five
        pages = [client.get("/tasks", params={"page": n, "page_size": 2}).json()["history"] for n in range(4)]
        assert [ids(page) for page in pages] == [all_ids[4:2:-1], all_ids[2:0:-1], all_ids[:1], []]
        assert ids(client.get("/tasks", params={"page_size": -1}).json()["history"]) == all_ids[::-1]
        assert ids(client.get("/tasks", params={"page": -1, "page_size": 2}).json()["history"]) == all_ids[4:2:-1]
        assert client.get("/tasks", params={"page_size": 0}).json()["history"] == []
        assert client.get("/tasks", params={"page": 10**30, "page_size": 10**30}).json()["history"] == []
        assert len(client.get("/tasks/").json()["history"]) == 5
        for page in pages[:3]:
            assert [one["id"] for one in page] == sorted((one["id"] for one in page), reverse=True)

    def test_ten_are_a_page_when_nothing_is_said(self, make_client):
        client = make_client()
        for _ in range(11):
            made(client, overwrite_step=1)
        assert len(client.get("/tasks").json()["history"]) == 10

    @pytest.mark.parametrize("params", [{"page": "x"}, {"page_size": "x"}, {"page": "1.5"}])
    def test_a_page_that_is_no_number_is_422(self, client, params):
        reply = client.get("/tasks", params=params)
        assert reply.status_code == 422
        assert reply.json()["detail"][0]["loc"] == ["query", *params]


class TestWindow:
    def test_a_window_gives_what_was_queued_in_it_and_no_pages(self, five):
        client, all_ids = five
        queued = client.get(f"/tasks/{all_ids[4]}").json()["in_queue_mills"]
        for window in (
            {"start_at": moment(queued, minutes=-5)},
            {"start_at": moment(queued, minutes=-5), "end_at": moment(queued, minutes=5)},
            {"start_at": moment(queued, minutes=-5) + "Z", "end_at": moment(queued, minutes=5) + "+09:00"},
        ):
            found = client.get("/tasks", params={**window, "page_size": 1}).json()["history"]
            assert sorted(ids(found)) == sorted(all_ids), window
        early = {"start_at": moment(queued, minutes=-9), "end_at": moment(queued, minutes=-5)}
        assert client.get("/tasks", params=early).json()["history"] == []

    def test_a_window_that_cannot_be_read_counts_as_none_and_deletes_nothing(self, five):
        client, all_ids = five
        for window in UNREADABLE:
            assert client.get("/tasks", params={**window, "action": "delete"}).json() == EMPTY
            assert ids(client.get("/tasks", params={**window, "page_size": 2}).json()["history"]) == all_ids[4:2:-1]

    def test_delete_forgets_the_tasks_of_the_window_and_their_files(self, make_client):
        client = make_client()
        for method, action in (("GET", "delete"), ("GET", "DELETE"), ("DELETE", "")):
            one = made(client, overwrite_step=1)
            running = client.post(URL, json=LONG).json()["task_id"]
            window = {"start_at": moment(one["in_queue_mills"], minutes=-1), "action": action}
            assert client.get(one["result"][0]).status_code == 200
            reply = client.request(method, "/tasks", params=window)
            assert (reply.status_code, reply.json()) == (200, EMPTY)
            assert client.get(f"/tasks/{one['task_id']}").status_code == 404
            assert client.get(one["result"][0]).status_code == 404
            assert client.get("/tasks").json()["history"] == []
            assert record(client, running, ("running",))
            client.post(CONTROL, params={"action": "stop"})
            record(client, running)

    def test_another_action_lists_as_usual(self, five):
        client, all_ids = five
        params = {"action": "destroy", "start_at": "2020-01-01T00:00:00"}
        assert sorted(ids(client.get("/tasks", params=params).json()["history"])) == sorted(all_ids)


class TestOne:
    def test_an_unknown_task_is_404(self, client):
        for path in ("/tasks/nothing", "/tasks/85c10c81e9e2482d90a64c3704137d3a"):
            reply = client.get(path)
            assert (reply.status_code, reply.json()) == (404, {"detail": "Task not found"})

    def test_a_running_task_has_progress_and_a_raw_preview(self, client):
        task_id = client.post(URL, json={**LONG, "overwrite_step": 20}).json()["task_id"]
        seen = []
        while not seen or seen[-1]["task_status"] in ("pending", "running"):
            seen.append(client.get(f"/tasks/{task_id}").json())
            time.sleep(0.02)
        running = [one for one in seen if one["task_status"] == "running"]
        previews = [one["preview"] for one in running if one["preview"]]
        assert base64.b64decode(previews[-1]).startswith(b"\x89PNG")
        progress = [one["progress"] for one in running]
        assert progress == sorted(progress)
        assert len(set(progress)) > 3
        assert all(isinstance(value, int) for value in progress)
        assert (seen[-1]["task_status"], seen[-1]["progress"]) == ("finished", 100)
        assert "preview" not in seen[-1]


class TestControl:
    def test_with_nothing_running_nothing_happens_to_the_next_task(self, make_client):
        client = make_client()
        for action in ("stop", "skip"):
            assert client.post(CONTROL, params={"action": action}).json() == {"message": "No task running"}
        assert len(made(client)["result"]) == 1

    def test_an_unknown_action_is_said_and_a_missing_one_is_422(self, client):
        for action in ("STOP", "pause", ""):
            assert client.post(CONTROL, params={"action": action}).json() == {"message": "Invalid control action"}
        reply = client.post(CONTROL)
        assert reply.status_code == 422
        assert reply.json()["detail"][0]["loc"] == ["query", "action"]

    @pytest.mark.parametrize("path", ["/v1/engine/control", "/v1/engine/control/"])
    def test_stop_keeps_the_pictures_made_and_goes_on_to_the_next_task(self, client, path):
        body = {"prompt": "[[quick, slow]]", "image_number": 2, "async_process": True, "overwrite_step": 200}
        first = client.post(URL, json=body).json()["task_id"]
        behind = client.post(URL, json={"prompt": "a", "async_process": True}).json()["task_id"]
        until(client, first, "image 2/2")
        reply = client.post(path, params={"action": "stop"}, follow_redirects=False)
        assert (reply.status_code, reply.json()) == (200, {"message": "task stopped"})
        stopped = record(client, first)
        assert (stopped["task_status"], stopped["progress"], len(stopped["result"])) == ("stop", 100, 1)
        assert client.get(stopped["result"][0]).status_code == 200
        assert record(client, behind)["task_status"] == "finished"

    def test_skip_leaves_out_the_picture_that_is_made(self, client):
        body = {"prompt": "[[quick, slow, fast]]", "image_number": 3, "image_seed": 5, "overwrite_step": 200}
        task_id = client.post(URL, json={**body, "async_process": True}).json()["task_id"]
        until(client, task_id, "image 2/3")
        assert client.post(CONTROL, json={"action": "skip"}).json() == {"message": "task skipped"}
        started = time.monotonic()
        done = record(client, task_id)
        assert time.monotonic() - started < 8  # the rest of the slow picture alone would take ten seconds
        assert (done["task_status"], len(done["result"])) == ("finished", 2)
        images = poll(client, task_id)["job_result"]
        assert [(image["seed"], image["finish_reason"]) for image in images] == [("5", "SUCCESS"), ("7", "SUCCESS")]

    def test_a_skipped_only_picture_leaves_a_finished_task_without_results(self, client):
        task_id = client.post(URL, json=LONG).json()["task_id"]
        until(client, task_id, "image 1/1")
        client.post(CONTROL, params={"action": "skip"})
        done = record(client, task_id)
        assert (done["task_status"], done["result"]) == ("finished", [])

    def test_a_stop_is_not_undone_by_a_skip(self, client):
        task_id = client.post(URL, json={**LONG, "image_number": 3}).json()["task_id"]
        until(client, task_id, "image 1/3")
        client.post(CONTROL, params={"action": "stop"})
        client.post(CONTROL, params={"action": "skip"})
        assert record(client, task_id)["task_status"] == "stop"


def until(client, task_id: str, text: str) -> None:
    """Wait until a running task says this."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = client.get("/v1/generation/query-job", params={"job_id": task_id}).json()["job_status"] or ""
        if status.startswith("Sampling step") and text in status:
            return
        time.sleep(0.02)
    raise AssertionError(f"task {task_id} never said {text!r}")
