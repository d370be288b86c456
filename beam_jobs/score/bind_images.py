"""Which input takes a row's image, as bytes or as pixels."""

import dataclasses
from collections.abc import Collection, Mapping

from beam_jobs.errors import UsageError
from beam_jobs.images.tensor_options import tensor_spec
from beam_jobs.models.evidence import Use
from beam_jobs.models.signature import DType, Signature, TensorInfo
from beam_jobs.schema import SERVING, Feature
from beam_jobs.score.signature_binding import InputBinding, ModelImages, Source

_IMAGE_RANK = 4  # [n, h, w, c]


def image_input(
    signature: Signature,
    features: Mapping[str, Feature],
    images: ModelImages | None,
    unfed: Collection[str],
) -> TensorInfo | None:
    """The input that takes the image.

    Of pixels by its shape; of bytes, a text that the graph decodes as an image, or by the name of
    the image's column, or, where there is none, the only one that no feature has the name of and
    that the graph does not use as a text.

    Args:
        signature: of the model.
        features: that may feed inputs.
        images: None where rows come without.
        unfed: names of features that only name an image.

    Raises:
        UsageError: there is one and no image to feed it, or there are several.
    """
    uses = {tensor.name: signature.evidence.use_of(tensor.name) for tensor in signature.inputs}
    pixels = [t for t in signature.inputs if t.shape is not None and len(t.shape) == _IMAGE_RANK]
    texts = [t for t in signature.inputs if t.dtype == DType.STRING.value]
    column = images.column if images is not None and images.column in features else None
    named = [
        t for t in texts if t.name == column or t.name in unfed or uses[t.name].use is Use.IMAGE
    ]
    found = pixels + named
    if images is None:
        if found:
            raise UsageError(
                f"--model: signature {signature.name!r} takes an image, input {found[0]}; say"
                " where images lie with --images"
            )
        return None
    left_over = [
        t for t in texts if t.name not in features and uses[t.name].use in (Use.TEXT, Use.UNKNOWN)
    ]
    if not found and len(left_over) == 1:
        found = left_over
    if found and column is None:
        raise UsageError(
            f"--model: signature {signature.name!r} takes an image, input {found[0]}, but"
            f" {images.column!r}, which names images, is no feature that the schema expects in"
            f" the environment {SERVING}"
        )
    if len(found) > 1:
        raise UsageError(
            f"--model: signature {signature.name!r} takes {len(found)} images:"
            f" {'; '.join(map(str, found))}; a row has one, {images.column!r}"
        )
    if found and uses[found[0].name].use is Use.WORDS:
        raise UsageError(
            f"--model: signature {signature.name!r} uses input {found[0]} as a text"
            f" ({uses[found[0].name].operation}), but {images.column!r} names images, whose bytes"
            " it would get; export it under another name"
        )
    return found[0] if found else None


def image_binding(tensor: TensorInfo, feature: Feature, images: ModelImages) -> InputBinding:
    """The feed of the input that `image_input` found.

    Raises:
        UsageError: no image could feed it.
    """
    where = f"--model: input {tensor}"
    if tensor.shape is not None and len(tensor.shape) == _IMAGE_RANK:
        spec = tensor_spec(tensor.shape, tensor.dtype, images.options, f"{where} ({images.where})")
        problem = rows_problem(tensor)
        shape: tuple[int, ...] = (spec.height, spec.width, spec.channels)
        input_ = InputBinding(tensor.name, feature, DType(tensor.dtype), shape, None, True)
        input_ = dataclasses.replace(input_, source=Source.PIXELS, pixels=spec)
    else:
        problem = shape_problem(tensor)
        if problem is None and tensor.width not in (1, None):
            problem = "takes several texts a row; a row has one image"
        shape = () if tensor.shape is None or len(tensor.shape) < 2 else (1,)
        input_ = InputBinding(
            tensor.name, feature, DType.STRING, shape, None, source=Source.ENCODED
        )
    if problem is not None:
        raise UsageError(f"{where} {problem}")
    return input_


def rows_problem(tensor: TensorInfo) -> str | None:
    """Why no number of rows could feed such a tensor; None where it is open."""
    if tensor.shape is not None and tensor.shape[0] is not None:
        return f"takes exactly {tensor.shape[0]} rows at a time; export it with None for the rows"
    return None


def shape_problem(tensor: TensorInfo) -> str | None:
    """Why no feature of any type could feed such a tensor; None where one could."""
    if tensor.shape is None:
        return None
    if not 1 <= len(tensor.shape) <= 2:
        return f"has {len(tensor.shape)} dimensions; a row can be a value or a list of values"
    if (problem := rows_problem(tensor)) is not None:
        return problem
    if tensor.width is None:
        return "does not say how many values a row has; export it with their number"
    return None
