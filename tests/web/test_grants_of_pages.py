"""The pages people watch, for who is granted no experiment, or one: they stand, and show nothing else."""

import pytest

from pdsapp.models import Membership, UserProfile, utc_now
from pdsapp.services import accounts, posts
from tests.attempt_rows import add_row
from tests.builders import make_experiment, make_person, make_twin
from tests.web.looking import words_of

PAGES = (
    "/admin/", "/admin/?experiment=", "/admin/?period=30d", "/activity", "/activity?search=zqword",
    "/activity/now",
    "/dashboard/who.csv", "/dashboard/endpoints.csv?period=30d", "/admin/post/", "/admin/attempt/",
)  # fmt: skip


@pytest.mark.database
@pytest.mark.parametrize("count", [0, 1], ids=["of none", "of one"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_stands_and_shows_only_what_is_granted(app, sign_in, write, path, count):
    own, other = make_experiment("Own"), make_experiment("zqforeign")
    for study, word in ((own, "mine"), (other, "zqforeign")):
        twin, person = make_twin(study, f"{word}_twin"), make_person(study, f"{word}_walt")
        add_row(twin, "posted", "drawn", utc_now(), f"zqword of {word}.", draw=0.9)
        with write() as session:
            profile = session.get_one(UserProfile, person.id)
            posts.add_post(session, profile, f"@{word}_twin, are you a bot?", utc_now())
    browser = sign_in("viewer", sees_all=False)
    if count:
        with write() as session:
            account = accounts.find_account(session, "viewer@example.org")
            session.add(Membership(account_id=account.id, experiment_id=own.id))
    answer = browser.get(path)
    assert answer.status_code == 200
    assert "zqforeign" not in answer.text
    if count and path.startswith("/admin/?"):
        assert "mine_walt" in words_of(answer)
