"""The client API: what is asked is done, what cannot be done is told, and what is not known is not called a failure."""

from __future__ import annotations

import json
from http import HTTPStatus
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import ClusterClosed, WrongArguments
from actors.http.api import MAX_BODY, make_app
from actors.http.attached import attached_to
from actors.http.serving import serve_app, serve_http
from actors.machines.counter import Counter
from actors.service_protocol import ClusterReport
from tests.http.asking import QUICK, Answer, ask
from tests.http.machine import Book


def assert_problem(answer: Answer, status: int, code: str, outcome: str = "not applied") -> None:
    assert answer.status == answer.body["status"] == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.body["code"], answer.body["outcome"]) == (code, outcome)
    assert answer.body["title"] == HTTPStatus(status).phrase
    assert answer.body["what"]


def test_a_command_changes_the_state_and_a_query_reads_it(url: str) -> None:
    before = len(ask(url, "POST", "/v1/queries/accounts").body["result"])
    added = ask(url, "POST", "/v1/commands/add", '{"entry": {"account": "rent"}, "times": 2}')
    assert (added.status, added.body) == (200, {"result": before + 2})
    for freshness in ("", "?consistency=linearizable", "?consistency=follower", "?consistency=lease"):
        read = ask(url, "POST", f"/v1/queries/accounts{freshness}", "{}")
        assert read.body["result"][before:] == ["rent", "rent"]
    assert ask(url, "POST", "/v1/queries/accounts?consistency=stale").status == 200
    assert ask(url, "POST", "/v1/queries/accounts?consistency=stale&max_staleness=0.5").status == 200


def test_arguments_are_named_whatever_their_place_in_python(url: str) -> None:
    assert ask(url, "POST", "/v1/commands/add", '{"front": true, "entry": {"account": "first"}}').status == 200
    assert ask(url, "POST", "/v1/queries/accounts").body["result"][0] == "first"
    assert ask(url, "POST", "/v1/commands/keep", '{"name": "key", "blob": "AAEC"}').body == {"result": 3}
    assert ask(url, "POST", "/v1/queries/blob", '{"name": "key"}').body == {"result": "AAEC"}
    assert ask(url, "POST", "/v1/queries/day", '{"when": "2024-02-28"}').body == {"result": "2024-02-29"}


@pytest.mark.parametrize(
    "body",
    [
        *(
            '{"entry": {"account": 7}}',
            '{"entry": {"account": "a"}, "times": 11}',
            '{"entry": {"account": "a"}, "x": 1}',
        ),
        *("{}", "", "[]", "null", "not JSON", '{"entry": ', "\ufeff{}", '{"entry": {"account": "\\ud800"}}'),
        '{"entry": {"account": "a", "amount": 123456789012345678901234567890}}',
        '{"entry":' * 5000,
    ],
)
def test_what_is_ill_typed_or_no_json_at_all_is_400_and_nothing_is_sent(url: str, body: str) -> None:
    before = ask(url, "POST", "/v1/queries/accounts").body
    assert_problem(ask(url, "POST", "/v1/commands/add", body.encode()), 400, "WRONG-ARGUMENTS")
    assert ask(url, "POST", "/v1/queries/accounts").body == before


def test_an_unknown_operation_is_404_and_a_query_is_no_command(url: str) -> None:
    unknown = ask(url, "POST", "/v1/commands/burn")
    assert_problem(unknown, 404, "UNKNOWN-COMMAND")
    assert "add" in unknown.body["what"]
    assert_problem(ask(url, "POST", "/v1/commands/accounts"), 404, "UNKNOWN-COMMAND")
    assert_problem(ask(url, "POST", "/v1/queries/add"), 404, "UNKNOWN-COMMAND")
    assert_problem(ask(url, "POST", "/v1/commands/_handle"), 404, "UNKNOWN-COMMAND")
    assert_problem(ask(url, "GET", "/v2"), 404, "UNKNOWN-COMMAND")
    assert_problem(ask(url, "GET", "/v1/commands/add"), 405, "UNKNOWN-COMMAND")


def test_a_method_that_raised_was_applied(url: str) -> None:
    answer = ask(url, "POST", "/v1/commands/fail", '{"reason": "no money"}')
    assert_problem(answer, 422, "COMMAND-FAILED", "applied")
    assert "ValueError: no money" in answer.body["what"]


def test_a_result_that_json_cannot_say_is_no_failure_of_the_server(url: str) -> None:
    assert_problem(ask(url, "POST", "/v1/queries/by_pair"), 422, "COMMAND-FAILED", "applied")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_413_before_it_is_read(url: str, chunked: bool) -> None:
    body = b" " * (MAX_BODY + 1)
    pieces = iter([body[: MAX_BODY // 2], body[MAX_BODY // 2 :]])
    assert_problem(ask(url, "POST", "/v1/commands/anything", pieces if chunked else body), 413, "BAD-FRAME")
    assert ask(url, "POST", "/v1/commands/anything", b" " * (MAX_BODY - 2) + b"{}").status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_foreign_web_page_may_post_without_asking_is_not_taken(url: str, kind: str) -> None:
    assert_problem(ask(url, "POST", "/v1/commands/anything", "{}", Content_Type=kind), 415, "BAD-FRAME")


@pytest.mark.parametrize(
    "query",
    [
        *("timeout=0", "timeout=-1", "timeout=61", "timeout=nan", "timeout=x", "consistency=x", "consistency=session"),
        *("max_staleness=1", "consistency=follower&max_staleness=1"),
        *(f"consistency=stale&max_staleness={bound}" for bound in ("0", "-1", "nan", "inf", "x", "")),
    ],
)
def test_a_parameter_that_means_nothing_is_400(url: str, query: str) -> None:
    assert_problem(ask(url, "POST", f"/v1/queries/accounts?{query}"), 400, "WRONG-ARGUMENTS")


def test_status_and_members_name_every_peer_and_the_leader(url: str, book: Book) -> None:
    status, members = ask(url, "GET", "/v1/status").body, ask(url, "GET", "/v1/members").body
    assert status["machine"] == "book@1"
    assert status["quorum"] == 2
    assert (
        [node["node"] for node in status["nodes"]] == [one["node"] for one in members["members"]] == ["n1", "n2", "n3"]
    )
    assert status["leader"] == members["leader"] == book.cluster.leader()
    assert sorted(one["role"] for one in members["members"]) == ["follower", "follower", "leader"]
    assert ask(url, "GET", "/readyz").body == {"ready": True}


# --- exactly once -----------------------------------------------------------------------------------------------------


def test_a_numbered_command_is_applied_once_however_many_servers_are_asked_for_it(book: Book, url: str) -> None:
    session = ask(url, "POST", "/v1/sessions")
    assert session.status == 201
    number = {"Actorum_Session": str(session.body["session"]), "Actorum_Sequence": "1"}
    entry = '{"entry": {"account": "once"}}'
    first = ask(url, "POST", "/v1/commands/add", entry, **number)
    with serve_http(book) as another:
        assert ask(another, "POST", "/v1/commands/add", entry, **number).body == first.body
    assert ask(url, "POST", "/v1/queries/accounts").body["result"].count("once") == 1
    number["Actorum_Sequence"] = "2"
    assert ask(url, "POST", "/v1/commands/add", entry, **number).body["result"] == first.body["result"] + 1


def test_numbers_may_overtake_each_other_as_far_as_the_client_says(url: str) -> None:
    session = str(ask(url, "POST", "/v1/sessions").body["session"])

    def send(sequence: int, lowest_pending: int) -> Answer:
        number = {"Actorum_Sequence": str(sequence), "Actorum_Lowest_Pending": str(lowest_pending)}
        return ask(url, "POST", "/v1/commands/anything", f'{{"value": {sequence}}}', Actorum_Session=session, **number)

    assert [send(sequence, 1).body["result"] for sequence in (3, 1, 2, 3)] == [3, 1, 2, 3]
    assert send(4, 3).body == {"result": 4}
    assert_problem(send(1, 1), 504, "OUTCOME-UNKNOWN", "unknown")  # its answer was acknowledged, and forgotten


def test_a_session_that_the_cluster_does_not_know_leaves_the_outcome_open(url: str) -> None:
    number = {"Actorum_Session": "999999999", "Actorum_Sequence": "1"}
    assert_problem(ask(url, "POST", "/v1/commands/anything", **number), 410, "SESSION-EXPIRED", "unknown")


@pytest.mark.parametrize(
    "number",
    [
        {"Actorum_Session": "1"},
        {"Actorum_Sequence": "1"},
        {"Actorum_Session": "1", "Actorum_Sequence": "0"},
        {"Actorum_Session": "1", "Actorum_Sequence": "-1"},
        {"Actorum_Session": "1", "Actorum_Sequence": "9" * 19},
        {"Actorum_Session": "1", "Actorum_Sequence": "1" * 5000},
        {"Actorum_Session": "x", "Actorum_Sequence": "1"},
        {"Actorum_Session": "1", "Actorum_Sequence": "1", "Actorum_Lowest_Pending": "2"},
        {"Idempotency_Key": "mine"},
    ],
)
def test_half_a_number_is_refused_and_so_is_a_key_that_would_be_ignored(url: str, number: dict[str, str]) -> None:
    assert_problem(ask(url, "POST", "/v1/commands/anything", **number), 400, "WRONG-ARGUMENTS")


# --- a cluster in trouble ---------------------------------------------------------------------------------------------


def test_without_a_leader_a_command_is_503_and_may_be_sent_again() -> None:
    with Counter.cluster(engine="threads", settings=QUICK) as counter, serve_http(counter) as url:
        for name in counter.cluster.nodes:
            counter.cluster.kill(name)
        for path in ("/v1/commands/incr?timeout=0.2", "/v1/queries/get?timeout=0.2", "/v1/sessions?timeout=0.2"):
            answer = ask(url, "POST", path)
            assert_problem(answer, 503, "NO-QUORUM")
            assert int(answer.headers["retry-after"]) > 0
        assert ask(url, "GET", "/readyz").status == 503
        assert ask(url, "GET", "/healthz").status == 200
        assert {one["state"] for one in ask(url, "GET", "/v1/members").body["members"]} == {"down"}


def test_a_command_that_was_sent_and_not_answered_is_unknown_and_a_numbered_one_can_be_sent_again() -> None:
    with Counter.cluster(engine="threads", settings=QUICK) as counter, serve_http(counter) as url:
        session = str(ask(url, "POST", "/v1/sessions").body["session"])
        number = {"Actorum_Session": session, "Actorum_Sequence": "1"}
        leader = counter.cluster.leader()
        followers = [name for name in counter.cluster.nodes if name != leader]
        assert ask(url, "POST", "/v1/commands/incr").body == {"result": 1}
        for name in followers:
            counter.cluster.kill(name)
        unknown = ask(url, "POST", "/v1/commands/incr?timeout=0.6", **number)
        assert_problem(unknown, 504, "OUTCOME-UNKNOWN", "unknown")
        assert "same session and sequence" in unknown.body["fix"]
        counter.cluster.restart(followers[0])
        assert ask(url, "POST", "/v1/commands/incr?timeout=20", **number).body == {"result": 2}
        assert ask(url, "POST", "/v1/queries/get?timeout=20").body == {"result": 2}


def test_an_unnumbered_command_is_carried_on_to_the_next_leader() -> None:
    with Counter.cluster(engine="threads", settings=QUICK) as counter, serve_http(counter) as url:
        assert ask(url, "POST", "/v1/commands/incr").body == {"result": 1}
        counter.cluster.kill_leader()
        assert ask(url, "POST", "/v1/commands/incr?timeout=20").body == {"result": 2}


def test_who_runs_the_cluster_may_hang_and_the_server_answers_and_ends_all_the_same() -> None:
    may_go_on = Event()
    with Counter.cluster(engine="threads", settings=QUICK) as counter:
        with attached_to(counter.cluster, "counter@1") as cluster:

            def hang() -> ClusterReport:
                may_go_on.wait()
                return cluster.report()

            app = make_app(Counter, cluster._replace(report=hang), timeout=0.2)
            with serve_app(app) as url:
                assert_problem(ask(url, "GET", "/v1/status"), 503, "CALL-TIMEOUT")
                assert ask(url, "GET", "/readyz").status == 503
                assert ask(url, "GET", "/healthz").status == 200
        may_go_on.set()


def test_only_a_running_cluster_of_this_program_is_served() -> None:
    with pytest.raises(ClusterClosed), serve_http(Counter()):
        pass
    with (
        Counter.cluster(engine="sim") as counter,
        pytest.raises(WrongArguments, match="simulated"),
        serve_http(counter),
    ):
        pass


# --- the description --------------------------------------------------------------------------------------------------


def test_the_description_names_every_operation_with_its_types(url: str) -> None:
    document = ask(url, "GET", "/openapi.json").body
    assert document["openapi"].startswith("3.1")
    assert "security" not in document
    commands = {path for path in document["paths"] if path.startswith("/v1/commands/")}
    assert commands == {f"/v1/commands/{name}" for name in ("add", "keep", "fail", "anything")}
    add = document["paths"]["/v1/commands/add"]["post"]
    assert add["summary"] == "Write an entry."
    arguments = _resolved(document, add["requestBody"]["content"]["application/json"]["schema"])
    assert arguments["required"] == ["entry"]
    assert arguments["properties"]["times"] == {"type": "integer", "minimum": 1, "maximum": 10, "default": 1}
    assert _resolved(document, arguments["properties"]["entry"])["properties"]["account"] == {"type": "string"}
    accounts = document["paths"]["/v1/queries/accounts"]["post"]["responses"]["200"]["content"]["application/json"]
    assert accounts["schema"]["properties"]["result"] == {"type": "array", "items": {"type": "string"}}


def _resolved(document: dict, schema: dict) -> dict:
    while "$ref" in schema:
        found = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def test_every_reference_in_the_description_leads_somewhere(url: str) -> None:
    document = ask(url, "GET", "/openapi.json").body
    text = json.dumps(document)
    assert text.count('"$ref"') > 20
    for piece in text.split('"$ref": "')[1:]:
        assert _resolved(document, {"$ref": piece.partition('"')[0]})


# --- any bytes --------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.one_of(
    st.binary(max_size=64),
    JSON.map(lambda value: json.dumps(value).encode()),
    JSON.map(lambda value: json.dumps({"entry": value}).encode()),
    JSON.map(lambda value: json.dumps({"value": value}).encode()),
    JSON.map(lambda value: json.dumps({"entry": {"account": "a", "amount": value}, "times": value}).encode()),
)


def test_no_body_whatever_makes_the_server_fail(url: str) -> None:
    @given(
        BODIES, st.sampled_from(["commands/add", "commands/keep", "commands/anything", "queries/day", "queries/blob"])
    )
    @settings(max_examples=80, deadline=None, database=None)
    def check(body: bytes, path: str) -> None:
        answer = ask(url, "POST", f"/v1/{path}", body)
        assert answer.status in (200, 400), (body, answer)
        assert answer.status == 200 or answer.body["code"] == "WRONG-ARGUMENTS"

    check()


def test_no_path_query_or_number_makes_the_server_fail(url: str) -> None:
    words = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)

    @given(words, words, words, st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]))
    @settings(max_examples=40, deadline=None, database=None)
    def check(path: str, query: str, number: str, method: str) -> None:
        target = f"/v1/{path}".replace("#", "")
        headers = {"Actorum_Session": number, "Actorum_Sequence": number}
        assert ask(url, method, f"{target}?timeout={query}".replace("#", ""), "{}", **headers).status in (400, 404, 405)
        answer = ask(url, "POST", "/v1/commands/anything", "{}", **headers)
        assert answer.status in (200, 400, 410) or _was_acknowledged(answer), answer

    check()


def _was_acknowledged(answer: Answer) -> bool:
    """The number was guessed: some client has opened that session, and has the answer."""
    body = answer.body if isinstance(answer.body, dict) else {}
    outcome = (answer.status, body.get("code"), body.get("why"))
    why = "the command was applied once, its answer was acknowledged, and so it was dropped"
    return outcome == (504, "OUTCOME-UNKNOWN", why)
