import msgspec

from olla_tui.state.pulls import name_problem
from olla_tui.state.well_known import COMFORT_ON_CPU_BYTES, WELL_KNOWN, room_bytes, suited
from tests.support.workstation_script import GIB, GPUS, PROCESSOR_ONLY


def test_the_list_can_be_pulled_and_goes_from_large_to_small():
    assert all(not name_problem(known.name) for known in WELL_KNOWN)
    sizes = [known.size_bytes for known in WELL_KNOWN]
    assert sizes == sorted(sizes, reverse=True)


def test_gpus_are_filled_and_processors_are_not():
    assert room_bytes(GPUS) == 48 * GIB
    assert room_bytes(PROCESSOR_ONLY) == COMFORT_ON_CPU_BYTES
    small = [msgspec.structs.replace(PROCESSOR_ONLY[0], memory_total_bytes=2 * GIB)]
    assert room_bytes(small) == GIB
    assert [name for name, _ in suited(GPUS, (), 3)] == ["llama3.3:70b", "qwen3:32b", "nomic-embed-text"]
    assert suited(PROCESSOR_ONLY, (), 5)[0] == ("qwen3:8b", "5.2 GB, tools, thinks")
    assert [name for name, _ in suited(small, (), 9)] == ["gemma3:1b", "qwen3:0.6b", "nomic-embed-text"]


def test_what_is_in_the_store_is_not_suggested_again():
    names = [name for name, _ in suited(PROCESSOR_ONLY, {"qwen3:8b", "nomic-embed-text:latest"}, 20)]
    assert "qwen3:8b" not in names and "nomic-embed-text" not in names and "gemma3:4b" in names
    assert suited((), (), 5) == [] and suited(GPUS, (), 0) == []
