"""Files of requests: each format told by its columns, what is wrong told by its line, and what is asked of a trace."""

import gzip
import json
import math
import re
from pathlib import Path

import pytest

from sim.requests import Distribution, Load, Sessions, described, made
from sim.requests.traces import loaded, source
from topologies.document import InputError

SHARED = Path(__file__).parents[3] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the traces are not beside the repository")

PLAIN = "arrival_s,prompt,output\n1.0,10,1\n3.0,20,2\n7.0,30,3\n"
FILES = {
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,10,1\n"
    "2023-11-16 18:17:05.9799600,20,2\n2023-11-16 18:17:09.9799600,30,3\n",
    "azure 2024": "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,10,1\n"
    "2024-05-10 00:00:02.009930+00:00,20,2\n2024-05-10 00:00:06.009930+00:00,30,3\n",
    "burstgpt": "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,a,1,GPT-4,10,1,11,API log\n7,b,1,ChatGPT,20,2,22,API log\n11,c,1,ChatGPT,30,3,33,API log\n",
    "mooncake": '{"timestamp": 0, "input_length": 10, "output_length": 1}\n'
    '{"timestamp": 2000, "input_length": 20, "output_length": 2}\n\n'
    '{"timestamp": 6000, "input_length": 30, "output_length": 3}\n',
    "llmservingsim": '{"input_toks": 10, "output_toks": 1, "arrival_time_ns": 0}\n'
    '{"input_toks": 20, "output_toks": 2, "arrival_time_ns": 2000000000}\n'
    '{"input_toks": 30, "output_toks": 3, "arrival_time_ns": 6000000000}\n',
    "vllm bench serve": '{"input_lens": [10, 20, 30], "output_lens": [1, 2, 3], "ttfts": [1, 1, 1],\n'
    ' "start_times": [500.5, 502.5, 506.5]}\n',
    "plain": PLAIN,
    "vidur": "arrived_at,num_prefill_tokens,num_decode_tokens\n0,10,1\n2,20,2\n6,30,3\n",
    "milliseconds, quoted": '"Prompt Tokens","arrival_ms","Completion Tokens"\r\n10,0,1\r\n20,2000,2\r\n30,6e3,3\r\n',
    "dates": "time,isl,osl\n2024-01-01T00:00:00Z,10,1\n2024-01-01T00:00:02Z,20,2\n2024-01-01T01:00:06+01:00,30,3\n",
    "jsonl": '{"prompt": 10, "output": 1, "time": 0}\n{"prompt": 20, "output": 2, "time": 2}\n'
    '{"prompt": 30, "output": 3, "time": 6}',
}


def written(folder: Path, text: str | bytes, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", FILES)
def test_every_format_is_told_by_its_columns_and_counted_from_its_first_request(
    tmp_path: Path, name: str, packed: bool
) -> None:
    content = FILES[name].encode()
    trace = loaded(written(tmp_path, gzip.compress(content, mtime=0) if packed else content))
    assert trace.arrival is not None
    assert trace.arrival.tolist() == pytest.approx([0.0, 2.0, 6.0])
    assert (trace.prompt.tolist(), trace.output.tolist()) == ([10, 20, 30], [1, 2, 3])
    assert trace.notes == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "trace.csv: the file is empty"),
        ("arrival_s,prompt,output\n", "trace.csv: holds no request"),
        (PLAIN + "-1,5,5\n", "trace.csv:5: arrival_s: '-1' is not a time; write a number, 0 or more"),
        (PLAIN + "nan,5,5\n", "trace.csv:5: arrival_s: 'nan' is not a time"),
        (
            PLAIN + "8,0,5\n",
            "trace.csv:5: prompt: '0' is not a number of tokens; write a whole number from 1 to 10,000,000",
        ),
        (PLAIN + "8,5,1.5\n", "trace.csv:5: output: '1.5' is not a number of tokens"),
        (PLAIN + "8,20000000,5\n", "trace.csv:5: prompt: '20000000' is not a number of tokens"),
        (PLAIN + "\n8,,5\n", "trace.csv:6: prompt: nothing is not a number of tokens"),
        (PLAIN + "8,5\n", "trace.csv:5: 2 columns where the header has 3"),
        (PLAIN + '8,"5,5\n', "trace.csv:5: 2 columns where the header has 3"),
        (b"\0" * 200_000, "trace.csv: not valid CSV"),
        (PLAIN.encode() + b"8,5,\xff\n", "trace.csv:5: not UTF-8 text"),
        ("when,prompt,output\n1,2,3\n", None),
        ("arrival,prompt,seconds\n1,2,3\n", "trace.csv: no column of answers' tokens in 'arrival, prompt, seconds'"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nsoon,1,1\n", "trace.csv:2: TIMESTAMP: 'soon' is not a date"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 1}\n{"timestamp": 0}\n', "trace.csv:2: no field input"),
        ('{"prompt": 1, "output": 2}\n{"prompt": 1, \n', "trace.csv:2: not valid JSON"),
        ('{"prompt": 1, "output": 2}\n[1]\n', "trace.csv:2: a list is not an object"),
        ('{"prompt": null, "output": 2}\n', "trace.csv:1: prompt: nothing is not a number of tokens"),
        ('[{"id": "a", "conversations": [{"from": "human", "value": "hi"}]}]', "trace.csv: conversations as text"),
        ('{"conversations": []}\n{"conversations": []}\n', "trace.csv: conversations as text"),
        ('{"input_lens": [1], "output_lens": [1, 2]}', "trace.csv: input_lens, output_lens and start_times are not of"),
        ('{"input_lens": [1], "output_lens": [0]}', "trace.csv: no request was answered"),
        ('{"input_lens": [1], "output_lens": [1]}\n' * 2, "trace.csv:2: not valid JSON"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": ["a"]}', "trace.csv:1: hash_ids: a list"),
        ("[1, 2]", "trace.csv: JSON of a kind that is not known"),
        (gzip.compress(b"arrival", mtime=0)[:-6], "trace.csv: cannot be read"),
    ],
)
def test_what_is_wrong_is_told_by_file_line_and_column(tmp_path: Path, text: str | bytes, message: str | None) -> None:
    path = written(tmp_path, text)
    if message is None:
        assert loaded(path).arrival is None
        return
    with pytest.raises(InputError) as caught:
        loaded(path)
    assert str(caught.value).startswith(message)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match="there is no such file"):
            loaded(path)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_NBYTES", 1_000_000)
    with pytest.raises(InputError, match="more than 1 GiB"):
        loaded(written(tmp_path, gzip.compress(b"arrival,prompt,output\n" + b"1,2,3\n" * 400_000, mtime=0)))
    with pytest.raises(InputError, match="256 MiB in a line"):
        loaded(written(tmp_path, gzip.compress(b"\0" * 4_000_000, mtime=0)))


def test_failed_requests_are_left_out_and_unsorted_ones_sorted_with_a_note(tmp_path: Path) -> None:
    text = (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n9,a,1,1,2,x\n5,a,2,0,2,x\n4,a,3,3,6,x\n"
    )
    trace = loaded(written(tmp_path, text))
    assert trace.prompt.tolist() == [3, 1]
    assert trace.notes == (
        "trace.csv: 1 of 3 requests failed (0 tokens) and are left out",
        "trace.csv: times were not in order; the rows were sorted",
    )


def test_mooncakes_hashes_are_contents_of_512_tokens(tmp_path: Path) -> None:
    """700 tokens are hashes 1 and 2, then 600 of which the first 512 are known: 512 of 1,300 tokens."""
    lines = ((0, 700, [1, 2]), (5, 600, [1, 3]))
    text = "\n".join(
        json.dumps({"timestamp": time, "input_length": tokens, "output_length": 9, "hash_ids": hashes})
        for time, tokens, hashes in lines
    )
    requests = made(Load(trace=written(tmp_path, text)), seed=0)
    assert (requests.contents, requests.content_tokens) == (((1, 2), (1, 3)), 512)
    assert described(requests).reusable == pytest.approx(512 / 1300)
    assert requests.notes == ()
    few = written(tmp_path, text.replace("[1, 2]", "[1]"))
    assert made(Load(trace=few), seed=0).notes == ("trace.csv: 1 of 2 prompts have fewer hash_ids than blocks of 512",)


def test_llmservingsims_tokens_name_contents_and_its_sessions_wait_for_answers(tmp_path: Path) -> None:
    """The second call repeats the first's 16 tokens and its answer of 16, and adds 16."""
    said = list(range(32))
    calls = [
        {
            "input_toks": 16,
            "output_toks": 16,
            "tool_duration_ns": 5e8,
            "input_tok_ids": said[:16],
            "output_tok_ids": said[16:],
        },
        {"input_toks": 48, "output_toks": 4, "tool_duration_ns": 0, "input_tok_ids": [*said, *said[:16]]},
    ]
    session = {"session_id": "a", "arrival_time_ns": 2e9, "sub_requests": calls}
    flat = {"input_toks": 20, "output_toks": 1, "arrival_time_ns": 1e9}
    requests = made(Load(trace=written(tmp_path, f"{json.dumps(session)}\n{json.dumps(flat)}\n")), seed=0)
    assert requests.arrival.tolist() == [0.0, 1.0, 0.5]
    assert requests.after is not None
    assert requests.after.tolist() == [-1, -1, 1]
    assert requests.contents == ((), (0, 1), (0, 1, 2))


def test_a_trace_is_sped_up_windowed_and_ended(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    assert made(Load(trace=path, rate_scale=2.0), seed=0).arrival.tolist() == [0.0, 1.0, 3.0]
    assert made(Load(trace=path, window=(1.0, 7.0)), seed=0).arrival.tolist() == [1.0, 5.0]
    assert made(Load(trace=path, window=(1.0, 7.0)), seed=0).prompt.tolist() == [20, 30]
    assert made(Load(trace=path, duration=6.0), seed=0).prompt.tolist() == [10, 20]
    assert made(Load(trace=path, num_requests=1), seed=0).prompt.tolist() == [10]
    with pytest.raises(InputError, match=r"window: trace.csv holds no request then; its last comes after 6 s"):
        made(Load(trace=path, window=(8.0, 9.0)), seed=0)
    with pytest.raises(InputError, match=r"num_requests: trace.csv has 3 here; write at most so many"):
        made(Load(trace=path, num_requests=4), seed=0)


def test_a_window_of_sessions_keeps_their_turns(tmp_path: Path) -> None:
    def line(start: float, *prompts: int) -> str:
        calls = [{"input_toks": prompt, "output_toks": 1, "tool_duration_ns": 9e9} for prompt in prompts]
        return json.dumps({"arrival_time_ns": start, "sub_requests": calls})

    path = written(tmp_path, "\n".join((line(0, 1, 2), line(3e9, 3, 4, 5), line(5e9, 6))))
    requests = made(Load(trace=path, window=(2.0, 9.0)), seed=0)
    assert requests.arrival.tolist() == [1.0, 9.0, 9.0, 3.0]
    assert requests.after is not None
    assert requests.after.tolist() == [-1, 0, 1, -1]
    ended = made(Load(trace=path, duration=4.0), seed=0)
    assert ended.prompt.tolist() == [1, 2, 3, 4, 5]
    assert made(Load(trace=path, num_requests=4), seed=0).prompt.tolist() == [1, 2, 3, 4]
    assert made(Load(trace=path, rate=math.inf), seed=0).arrival.tolist() == [0.0, 9.0, 0.0, 9.0, 9.0, 0.0]


def test_lengths_of_a_trace_come_at_ones_own_rate_and_are_drawn_where_more_are_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "prompt,output\n10,1\n20,2\n30,3\n")
    few, many = made(Load(trace=path, rate=1.0), seed=0), made(Load(trace=path, rate=1.0, num_requests=3_000), seed=0)
    assert few.prompt.tolist() == [10, 20, 30]
    assert (many.prompt == many.output * 10).all()
    assert many.prompt.mean() == pytest.approx(20.0, rel=0.05)
    assert set(made(Load(trace=path, rate=1.0, output=Distribution(mean=5)), seed=0).output) == {5}
    with pytest.raises(InputError, match=r"trace: trace.csv does not say when requests came; write a rate"):
        made(Load(trace=path), seed=0)


def test_what_begins_alike_in_a_trace_stays_so(tmp_path: Path) -> None:
    text = '{"timestamp": 0, "input_length": 600, "output_length": 1, "hash_ids": [1, 2]}\n'
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=r"sessions: trace.csv says itself which prompts begin alike"):
        made(Load(trace=path, sessions=Sessions(turns=Distribution(mean=2))), seed=0)
    assert made(Load(trace=path, rate=0.5), seed=0).contents == ((1, 2),)


@needs_shared
@pytest.mark.parametrize(("name", "share"), [("conversation", 0.366), ("synthetic", 0.64)])
def test_an_endless_cache_finds_as_many_of_mooncakes_blocks_as_were_published(name: str, share: float) -> None:
    """The paper counts blocks, of which the last of a prompt is partly filled; we count tokens."""
    requests = made(Load(trace=SHARED / "traces" / f"mooncake_{name}.jsonl.gz"), seed=0)
    assert requests.contents is not None
    seen: set[int] = set()
    found = total = 0
    for names in requests.contents:
        found, total = found + len(seen.intersection(names)), total + len(names)
        seen.update(names)
    assert found / total == pytest.approx(share, abs=5e-4)
    assert described(requests).reusable == pytest.approx(share, abs=0.012)


@needs_shared
@pytest.mark.parametrize(
    ("path", "count", "rate", "tokens"),
    [
        ("traces/azure2023_conv.csv", 19_366, 5.53, 22_361_870),
        ("traces/azure2023_conv_lengths_n5000_rate1.csv", 5_000, 1.058, 5_683_776),
        ("measured/serving/vllm_runs/requests.csv", 300, 10.27, 257_239),
    ],
)
def test_real_traces_are_read(path: str, count: int, rate: float, tokens: int) -> None:
    requests = made(Load(trace=SHARED / path), seed=0)
    assert (len(requests), int(requests.prompt.sum()), requests.notes) == (count, tokens, ())
    assert described(requests).rate == pytest.approx(rate, rel=1e-3)


def test_every_example_of_the_page_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "traces.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```(?:csv|json)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert [len(loaded(written(tmp_path, example))) for example in examples] == [2, 2, 2, 3, 2, 2]
