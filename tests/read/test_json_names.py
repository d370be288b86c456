"""Names of JSON records: which of them hold more than one value."""

import pytest

from beam_jobs.read.json_names import nested_names


@pytest.mark.parametrize(
    ("records", "names"),
    [
        ([], set()),
        ([b'{"a": 1, "b": null}\n'], set()),
        ([b'{"a": "[1] {2}"}'], set()),
        ([b'{"a": 1}', b'{"a": [], "b": {}, "c": "x"}\n\n'], {"a", "b"}),
        ([b'{"a": [[1]]}', b'{"a": [1'], {"a"}),
        ([b'{"a": [1], "a": 2}', b'{"b": ["\xff"]}', b"[1]"], set()),
    ],
)
def test_lists_and_objects_are_found_and_bad_records_passed_over(
    records: list[bytes], names: set[str]
) -> None:
    assert nested_names(records) == names
