from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from driftprint_server.history.settings import HistorySettings


def test_the_history_lies_beside_the_store_unless_a_url_is_set(tmp_path: Path) -> None:
    assert HistorySettings().database_url(tmp_path).database == str(tmp_path / "history.db")
    elsewhere = HistorySettings(url="sqlite:////srv/history.db").database_url(tmp_path)
    assert elsewhere.database == "/srv/history.db"


def test_the_password_is_put_into_the_url_and_shown_nowhere(tmp_path: Path) -> None:
    settings = HistorySettings(url="postgresql://ann@db.example/fleet", password=SecretStr("p@ss/word"))
    url = settings.database_url(tmp_path)
    assert (url.host, url.username, url.password) == ("db.example", "ann", "p@ss/word")
    assert "p@ss" not in repr(settings)
    assert "p@ss" not in str(url)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://host/database", "sqlite or postgresql"),
        ("postgresql+asyncpg://host/database", "sqlite or postgresql"),
        ("nonsense", "a URL is expected"),
        ("sqlite://", "path of a file"),
        ("postgresql://ann:secret@host/database", "leave the password out"),
    ],
)
def test_a_wrong_url_is_refused_with_what_was_expected(url: str, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        HistorySettings(url=url)


def test_a_cap_that_holds_next_to_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_bytes"):
        HistorySettings(max_bytes=1_000)
