"""RetinaFace on random tensors: its body against transformers' ResNet, the rest against plain functions of the file.

No published face detector can be had here, so what faces it finds is asked of the tiny one (tests/unit/models/vision).
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import ResNetBackbone, ResNetConfig

from models.errors import BadModelFile
from models.formats.faces import open_faces, plan_faces
from models.formats.plan import fill
from models.memory import Residency
from models.vision.faces import load_face_detector
from models.vision.retinaface import RetinaFace, anchors, read_faces

TOLERANCE = 1e-4
State = dict[str, Tensor]
DEPTHS, OUTER = (1, 2, 2, 1), (16, 32, 64, 96)
STEM = 12


def draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    values = torch.randn(shape, generator=generator)
    if name.endswith("running_var"):
        return 0.5 + values.abs()
    if len(shape) == 1:
        return (1.0 if name.endswith("weight") else 0.0) + 0.2 * values
    return values * (2 / values[0].numel()) ** 0.5


def random_state(neck: int, seed: int = 0) -> State:
    """Names as facexlib writes them, `num_batches_tracked` included."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, channels_in: int, channels_out: int, side: int) -> None:
        shapes[f"{name}.weight"] = (channels_out, channels_in, side, side)

    def norm(name: str, channels: int) -> None:
        shapes.update({f"{name}.{leaf}": (channels,) for leaf in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()

    def pair(name: str, channels_in: int, channels_out: int, side: int) -> None:
        conv(f"{name}.0", channels_in, channels_out, side)
        norm(f"{name}.1", channels_out)

    conv("body.conv1", 3, STEM, 7)
    norm("body.bn1", STEM)
    channels = STEM
    for stage, (depth, outer) in enumerate(zip(DEPTHS, OUTER, strict=True), start=1):
        for block in range(depth):
            place, width = f"body.layer{stage}.{block}", outer // 4
            for number, (a, b, side) in enumerate(
                ((channels, width, 1), (width, width, 3), (width, outer, 1)), start=1
            ):
                conv(f"{place}.conv{number}", a, b, side)
                norm(f"{place}.bn{number}", b)
            if block == 0:
                pair(f"{place}.downsample", channels, outer, 1)
            channels = outer
    for number, outer in enumerate(OUTER[1:], start=1):
        pair(f"fpn.output{number}", outer, neck, 1)
    for number in (1, 2):
        pair(f"fpn.merge{number}", neck, neck, 3)
    for number in (1, 2, 3):
        pair(f"ssh{number}.conv3X3", neck, neck // 2, 3)
        pair(f"ssh{number}.conv5X5_1", neck, neck // 4, 3)
        for name in ("conv5X5_2", "conv7X7_2", "conv7x7_3"):
            pair(f"ssh{number}.{name}", neck // 4, neck // 4, 3)
    for head, values in (("ClassHead", 4), ("BboxHead", 8), ("LandmarkHead", 20)):
        for number in range(3):
            conv(f"{head}.{number}.conv1x1", neck, values, 1)
            shapes[f"{head}.{number}.conv1x1.bias"] = (values,)
    generator = torch.Generator().manual_seed(seed)
    return {
        name: draw(name, shape, generator) if shape else torch.tensor(5, dtype=torch.long)
        for name, shape in shapes.items()
    }


def transformers_body(state: State) -> ResNetBackbone:
    config = ResNetConfig(
        embedding_size=STEM,
        hidden_sizes=list(OUTER),
        depths=list(DEPTHS),
        layer_type="bottleneck",
        out_features=["stage2", "stage3", "stage4"],
    )
    model = ResNetBackbone(config).eval()
    renamed = {}
    for name, tensor in state.items():
        if not name.startswith("body."):
            continue
        parts = name.removeprefix("body.").split(".")
        if parts[0] in ("conv1", "bn1"):
            place = "embedder.embedder.convolution" if parts[0] == "conv1" else "embedder.embedder.normalization"
        else:
            block = f"encoder.stages.{int(parts[0][-1]) - 1}.layers.{parts[1]}"
            if parts[2] == "downsample":
                place = f"{block}.shortcut.{'convolution' if parts[3] == '0' else 'normalization'}"
            else:
                place = f"{block}.layer.{int(parts[2][-1]) - 1}."
                place += "convolution" if parts[2].startswith("conv") else "normalization"
        renamed[f"{place}.{parts[-1]}"] = tensor
    model.load_state_dict(renamed, strict=True)
    return model


class Plain:
    """What follows the body, written straight from the file's names."""

    def __init__(self, state: State, leak: float) -> None:
        self.state, self.leak = state, leak

    def pair(self, name: str, x: Tensor, leak: float | None) -> Tensor:
        weight = self.state[f"{name}.0.weight"]
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        mean, var, scale, shift = (
            self.state[f"{name}.1.{leaf}"][:, None, None] for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / (var + 1e-5).sqrt() * scale + shift
        return x if leak is None else torch.where(x > 0, x, x * leak)

    def __call__(self, maps: tuple[Tensor, ...]) -> list[Tensor]:
        fine, middle, coarse = (self.pair(f"fpn.output{i}", x, self.leak) for i, x in enumerate(maps, start=1))
        middle = self.pair("fpn.merge2", middle + enlarged(coarse, middle), self.leak)
        fine = self.pair("fpn.merge1", fine + enlarged(middle, fine), self.leak)
        contexts = []
        for number, x in enumerate((fine, middle, coarse), start=1):
            place = f"ssh{number}"
            five = self.pair(f"{place}.conv5X5_1", x, self.leak)
            seven = self.pair(f"{place}.conv7X7_2", five, self.leak)
            parts = (
                self.pair(f"{place}.conv3X3", x, None),
                self.pair(f"{place}.conv5X5_2", five, None),
                self.pair(f"{place}.conv7x7_3", seven, None),
            )
            contexts.append(torch.cat(parts, dim=1).clamp(min=0))
        return [self.head(name, contexts, values) for name, values in (("Class", 2), ("Bbox", 4), ("Landmark", 10))]

    def head(self, name: str, contexts: list[Tensor], values: int) -> Tensor:
        out = []
        for number, x in enumerate(contexts):
            place = f"{name}Head.{number}.conv1x1"
            answers = F.conv2d(x, self.state[f"{place}.weight"], self.state[f"{place}.bias"])
            out.append(answers.permute(0, 2, 3, 1).contiguous().view(len(x), -1, values))
        return torch.cat(out, dim=1)


def enlarged(x: Tensor, like: Tensor) -> Tensor:
    rows = torch.arange(like.shape[2]) * x.shape[2] // like.shape[2]
    columns = torch.arange(like.shape[3]) * x.shape[3] // like.shape[3]
    return x[:, :, rows][:, :, :, columns]


@pytest.mark.parametrize(("neck", "leak"), [(32, 0.1), (128, 0.0)])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_network_equals_its_parts(neck: int, leak: float, prefix: str, tmp_path: Path) -> None:
    state = random_state(neck)
    path = tmp_path / "faces.pth"
    torch.save({prefix + name: tensor for name, tensor in state.items()}, path)
    pixels = torch.randn(1, 3, 96, 72, generator=torch.Generator().manual_seed(1))
    with load_face_detector(path, Residency()).module.use() as network, torch.inference_mode():
        found = network(pixels)
        expected = Plain(state, leak)(transformers_body(state)(pixels).feature_maps)
    for mine, reference in zip(found, expected, strict=True):
        assert reference.std() > 0.1
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=TOLERANCE)
    assert found[0].shape[1] == len(anchors(96, 72)) == 2 * (12 * 9 + 6 * 5 + 3 * 3)


def test_safetensors_are_read_too(tmp_path: Path) -> None:
    save_file(random_state(32), tmp_path / "faces.safetensors")
    with open_faces(tmp_path / "faces.safetensors") as file, torch.no_grad():
        sizes, plan = plan_faces(file)
        fill(RetinaFace(sizes), file, plan)
    assert (sizes.stem, sizes.neck) == (STEM, 32)
    assert [stage[0] for stage in sizes.stages] == list(DEPTHS)


def test_answers_become_boxes_and_landmarks_as_in_the_paper(tmp_path: Path) -> None:
    """Anchors lie at the middles of cells, row by row, the smaller first; offsets are in tenths of an anchor."""
    places = anchors(64, 64)
    assert places[:3].tolist() == [[4.0, 4.0, 16.0, 16.0], [4.0, 4.0, 32.0, 32.0], [12.0, 4.0, 16.0, 16.0]]
    assert places[-1].tolist() == [48.0, 48.0, 512.0, 512.0]
    logits = torch.zeros(1, len(places), 2)
    logits[..., 0] = 9.0
    boxes, landmarks = torch.zeros(1, len(places), 4), torch.zeros(1, len(places), 10)
    chosen = (places == torch.tensor([20.0, 28.0, 32.0, 32.0])).all(dim=-1).nonzero().item()
    logits[0, chosen] = torch.tensor([0.0, 8.0])
    boxes[0, chosen] = torch.tensor([1.0, -0.5, torch.tensor(2.0).log().item() * 5, 0.0])
    landmarks[0, chosen, :2] = torch.tensor([-2.5, 5.0])
    faces = read_faces((logits, boxes, landmarks), places, 0.97, 0.4)
    centre = (20 + 0.1 * 32, 28 - 0.05 * 32)
    expected = [centre[0] - 32, centre[1] - 16, centre[0] + 32, centre[1] + 16]
    torch.testing.assert_close(faces.boxes, torch.tensor([expected]))
    torch.testing.assert_close(faces.landmarks[0, 0], torch.tensor([20 - 8.0, 28 + 16.0]))
    torch.testing.assert_close(faces.scores, torch.tensor([8.0]).sigmoid())


def test_of_faces_that_overlap_the_surest_is_kept() -> None:
    places = torch.tensor([[50.0, 50.0, 40.0, 40.0], [54.0, 50.0, 40.0, 40.0], [90.0, 50.0, 40.0, 40.0]])
    logits = torch.tensor([[[0.0, 5.0], [0.0, 7.0], [0.0, 6.0]]])
    faces = read_faces((logits, torch.zeros(1, 3, 4), torch.zeros(1, 3, 10)), places, 0.97, 0.4)
    assert faces.boxes[:, 0].tolist() == [
        34.0,
        70.0,
    ]  # the second, then the third; the first shares 0.82 with the second


def test_another_file_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(BadModelFile, match="no RetinaFace"):
        load_face_detector(tmp_path / "other.pth", Residency())
    state = random_state(32)
    del state["fpn.output1.0.weight"]
    torch.save(state, tmp_path / "damaged.pth")
    with pytest.raises(BadModelFile, match="lacks the tensor"):
        load_face_detector(tmp_path / "damaged.pth", Residency())
