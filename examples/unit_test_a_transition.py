"""Testing the pure core: values in, values out, no cluster, no mocks.  Run it, or let pytest run it."""

from raft_core import ElectionTimeout, RequestVote, RequestVoteResult, Send, follower, received, step


def test_one_vote_per_term() -> None:
    """Whoever voted in a term says no to everybody else in it (paper 5.2)."""
    server = follower("n1", peers=["n1", "n2", "n3"], current_term=3, voted_for="n2")
    request = RequestVote(term=3, candidate_id="n3", last_log_index=0, last_log_term=0)
    after, effects = step(server, received("n3", request))
    assert after == server
    assert effects == (Send("n3", RequestVoteResult(term=3, vote_granted=False)),)


def test_a_follower_that_hears_nothing_asks_before_it_campaigns() -> None:
    """Pre-vote: the term does not grow yet (thesis 9.6)."""
    server = follower("n1", peers=["n1", "n2", "n3"], current_term=3)
    after, _ = step(server, ElectionTimeout(randomness=7))
    assert (after.role_name, after.current_term) == ("pre-candidate", 3)


if __name__ == "__main__":
    test_one_vote_per_term()
    test_a_follower_that_hears_nothing_asks_before_it_campaigns()
    print("both hold")
