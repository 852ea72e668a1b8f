"""Segment Anything and GroundingDINO, read from their authors' layout, answer what the authors' own code answered."""

import numpy as np
import pytest
import torch

from models.errors import BadModelFile
from models.masks import grounding_dino
from models.masks.grounding_dino import load_grounding_dino
from models.masks.sam import _full_size, load_sam
from models.memory import Residency
from tests.parity import original_masks
from tests.parity.original_masks import RECORDED, picture, save_grounding_dino, save_sam, save_vocabulary, weights

IMAGE = torch.from_numpy(picture()).float().div(255)


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    return load_sam(save_sam(tmp_path_factory.mktemp("sam") / "sam.pth"), Residency("cpu"))


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dino")
    checkpoint, words = save_grounding_dino(folder / "dino.pth"), save_vocabulary(folder / "vocab.txt")
    return load_grounding_dino(checkpoint, words, Residency("cpu"))


def test_segment_anything_fills_boxes_as_the_authors_code_does(sam, monkeypatch):
    boxes = torch.tensor(RECORDED["sam"]["boxes"])
    seen = []
    monkeypatch.setattr("models.masks.sam._full_size", lambda *args: seen.append(_full_size(*args)) or seen[-1])
    masks = sam.masks(IMAGE, boxes)
    found = seen[0][:, ::30, ::40].flatten(1)
    assert torch.allclose(found, torch.tensor(RECORDED["sam"]["logits"]), atol=2e-4)
    shares = (seen[0] > 0).float().mean((1, 2))
    assert torch.allclose(shares, torch.tensor(RECORDED["sam"]["shares"]), atol=2e-4)
    assert masks.shape == (2, *IMAGE.shape[:2])
    assert (masks >= (seen[0] > 0).numpy()).all()  # holes are filled, nothing else


def test_boxes_at_once_and_one_by_one_are_filled_alike(sam, monkeypatch):
    boxes = torch.tensor(RECORDED["sam"]["boxes"] * 2)
    together = sam.masks(IMAGE, boxes)
    monkeypatch.setattr("models.masks.sam.BOXES_AT_ONCE", 1)
    told = []
    apart = sam.masks(IMAGE, boxes, report=lambda done, of: told.append((done, of)))
    assert np.array_equal(together, apart)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_grounding_dino_answers_as_the_authors_code_does(dino, monkeypatch):
    monkeypatch.setattr(grounding_dino, "SHORT_PX", RECORDED["dino"]["short_px"])
    found = dino.boxes(IMAGE, RECORDED["dino"]["prompt"], box_threshold=0.0, text_threshold=1.0)
    best = torch.tensor(RECORDED["dino"]["logits"]).amax(-1)
    assert torch.allclose(found.scores.logit(), best, atol=0.01)
    centres = torch.tensor(RECORDED["dino"]["boxes"])
    halves = centres[:, 2:] / 2
    corners = torch.cat([centres[:, :2] - halves, centres[:, :2] + halves], 1) * torch.tensor([200, 150, 200, 150])
    assert torch.allclose(found.corners, corners, atol=0.02)  # pixels
    assert set(found.phrases) == {""}  # no word is surer than certain


def test_only_boxes_with_a_sure_word_count_and_their_phrase_is_of_sure_words(dino, monkeypatch):
    monkeypatch.setattr(grounding_dino, "SHORT_PX", RECORDED["dino"]["short_px"])
    logits = torch.tensor(RECORDED["dino"]["logits"])
    shares = logits.sigmoid()
    limit = float(shares.amax(-1).median())
    found = dino.boxes(IMAGE, RECORDED["dino"]["prompt"], box_threshold=limit, text_threshold=limit)
    assert len(found) == int((shares.amax(-1) > limit).sum())
    assert list(found.scores) == list(found.scores[found.scores > limit])
    words = ["[CLS]", "red", "circle", ".", "blue", "star", ".", "[SEP]"]
    sure = [[w for w, s in zip(words, row, strict=True) if s > limit and w[0] != "["] for row in shares.tolist()]
    expected = [
        " ".join(row).replace(" .", ".") for row, best in zip(sure, shares.amax(-1), strict=True) if best > limit
    ]
    assert list(found.phrases) == expected


def test_files_of_another_kind_are_refused(tmp_path):
    words = save_vocabulary(tmp_path / "vocab.txt")
    other = tmp_path / "other.pth"
    torch.save({"a": torch.zeros(2)}, other)
    for load in (
        lambda: load_sam(other, Residency("cpu")),
        lambda: load_grounding_dino(other, words, Residency("cpu")),
    ):
        with pytest.raises(BadModelFile, match="authors' layout"):
            load()


def test_a_checkpoint_that_lacks_a_tensor_is_refused(tmp_path):
    tensors = weights(RECORDED["sam"]["shapes"])
    del tensors["mask_decoder.iou_token.weight"]
    torch.save(tensors, tmp_path / "sam.pth")
    with pytest.raises(BadModelFile):
        load_sam(tmp_path / "sam.pth", Residency("cpu"))
    tensors = weights(RECORDED["sam"]["shapes"])
    del tensors["image_encoder.neck.3.weight"]
    torch.save(tensors, tmp_path / "sam2.pth")
    with pytest.raises(BadModelFile, match="lacks 1 tensors"):
        load_sam(tmp_path / "sam2.pth", Residency("cpu"))


def test_a_vocabulary_of_another_size_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join((*original_masks.VOCABULARY, "more")), encoding="utf-8")
    with pytest.raises(BadModelFile, match="knows 12 words, the vocabulary has 13"):
        load_grounding_dino(save_grounding_dino(tmp_path / "dino.pth"), tmp_path / "vocab.txt", Residency("cpu"))
