"""RetinaFace files: `detection_Resnet50_Final.pth`. Names may begin with `module.`, as of a model saved from GPUs."""

import re
from pathlib import Path

from models.errors import BadModelFile
from models.formats.pickled import open_either
from models.formats.plan import Plan, Source, plan_shapes
from models.formats.sizes import Shapes
from models.formats.weights import WeightFile
from models.vision.retinaface import FaceSizes

PREFIX = "module."
STAGES = 4
_HINT = "Use detection_Resnet50_Final.pth of facexlib."


def open_faces(path: str | Path) -> WeightFile:
    """Open a face detector's file. Raises BadModelFile."""
    return open_either(path, wrappers=("state_dict",))


def plan_faces(file: WeightFile) -> tuple[FaceSizes, Plan]:
    """Say which tensor fills which parameter of a RetinaFace, and how large that is. Raises BadModelFile."""
    plan: Plan = {name.removeprefix(PREFIX): Source(name) for name in file.tensors}
    if "body.layer1.0.conv3.weight" not in plan or "LandmarkHead.0.conv1x1.weight" not in plan:
        raise BadModelFile(file.path, "is no RetinaFace with a ResNet body", _HINT)
    try:
        return _sizes(plan_shapes(file, plan)), plan
    except KeyError as error:
        fault = f"lacks the tensor {error.args[0]}"
        raise BadModelFile(file.path, fault, "The file is damaged or another architecture.") from error


def _sizes(shapes: Shapes) -> FaceSizes:
    stages = []
    for number in range(1, STAGES + 1):
        stage = f"body.layer{number}"
        blocks = [int(match[1]) for name in shapes if (match := re.match(rf"body\.layer{number}\.(\d+)\.", name))]
        width, outer = shapes[f"{stage}.0.conv1.weight"][0], shapes[f"{stage}.0.conv3.weight"][0]
        stages.append((max(blocks) + 1, width, outer))
    return FaceSizes(shapes["body.conv1.weight"][0], tuple(stages), shapes["fpn.output1.0.weight"][0])
