"""A runner that drops or duplicates one element of one collection, and says nothing."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

LOSES, DOUBLES = 0, 2


class Place(NamedTuple):
    """A collection: the transform that gives it, and the output's tag."""

    transform: str
    tag: str = "None"


class Fault(NamedTuple):
    """What happens to the element number `element` of a collection: how often it goes on."""

    place: Place
    times: int
    element: int = 0


class _State:
    """Of this process, where the runner and its one worker are.

    Attributes:
        fault: what is to happen.
        seen: elements of the collection so far.
    """

    fault: Fault | None = None
    seen = 0


state = _State()


class LossyRunner(FnApiRunner):
    """The local runner with the one `state.fault`, as if it were in the runner itself."""

    def run_via_runner_api(self, pipeline_proto: Any, options: Any) -> Any:
        assert state.fault is not None
        state.seen = 0
        _insert(pipeline_proto, state.fault)
        return super().run_via_runner_api(pipeline_proto, options)


class _Faulty(beam.DoFn):
    def __init__(self, times: int, element: int) -> None:
        self._times, self._element = times, element

    def process(self, element: Any) -> Iterator[Any]:
        from support.lossy_runner import state  # the module's own, not a pickled copy

        is_it = state.seen == self._element
        state.seen += 1
        yield from [element] * (self._times if is_it else 1)


def _insert(proto: Any, fault: Fault) -> None:
    """Puts a step between a collection and all that read it."""
    components = proto.components
    (giver,) = [
        name
        for name, transform in components.transforms.items()
        if transform.unique_name == fault.place.transform
    ]
    collection = components.transforms[giver].outputs[fault.place.tag]
    components.pcollections["faulty"].CopyFrom(components.pcollections[collection])
    components.pcollections["faulty"].unique_name = "faulty"
    for transform in components.transforms.values():
        for tag, read in transform.inputs.items():
            if read == collection:
                transform.inputs[tag] = "faulty"
    components.transforms["faulty"].CopyFrom(_step(fault))
    step = components.transforms["faulty"]
    (step.environment_id,) = components.environments
    step.inputs.update(dict.fromkeys(step.inputs, collection))
    step.outputs.update(dict.fromkeys(step.outputs, "faulty"))
    # The runner takes steps in order.
    for order in (
        proto.root_transform_ids,
        *(transform.subtransforms for transform in components.transforms.values()),
    ):
        if giver in order:
            order.insert(list(order).index(giver) + 1, "faulty")


def _step(fault: Fault) -> Any:
    pipeline = beam.Pipeline()
    _ = pipeline | beam.Create([0]) | "Faulty" >> beam.ParDo(_Faulty(fault.times, fault.element))
    (step,) = [
        transform
        for transform in pipeline.to_runner_api().components.transforms.values()
        if transform.unique_name == "Faulty"
    ]
    return step
