"""Input pictures that no job knows of any more are removed."""

import os

from PIL import Image

from api.retention import sweep
from tests.api.test_acceptance_a import succeeded
from tests.api.test_image_routes import VARY, as_text
from tests.api.test_input_images import encoded, picture
from tests.api.test_text_to_image import poll


def test_input_pictures_of_forgotten_requests_go(make_client, tmp_path):
    client = make_client()
    kept, gone = as_text(picture(40, 20)), as_text(picture(20, 40))
    jobs = [
        client.post(VARY.format(2), json={"input_image": text, "uov_method": "Vary (Subtle)", "async_process": True})
        for text in (kept, gone)
    ]
    ids = [job.json()["job_id"] for job in jobs]
    for job_id in ids:
        poll(client, job_id)
    own = tmp_path / "input" / "mine.png"
    own.write_bytes(encoded(Image.new("RGB", (4, 4))))
    client.get("/v1/generation/job-history", params={"job_id": ids[1], "delete": True})
    served = client.app.state.services

    def remaining(unused_s: float) -> int:
        client.portal.call(lambda: sweep(served.settings, served.jobs, unused_s=unused_s))
        return len(list((tmp_path / "input").glob("*.png")))

    assert remaining(3600) == 3
    for path in (tmp_path / "input").glob("*.png"):
        os.utime(path, (1, 1))
    assert remaining(3600) == 2
    assert own.exists()
    succeeded(client.post(VARY.format(2), json={"input_image": kept, "uov_method": "Upscale (Fast 2x)"}))
