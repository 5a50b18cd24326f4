import pytest

from aparella.errors import ConfigurationError
from aparella.settings import Settings, load


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = ("DATABASE_URL", "DATABASE_SESSION_URL", "REDIS_URL")
    for name in (*urls, "APARELLA_MATCH_CHUNK", "APARELLA_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql://me@here/db", "postgresql+psycopg2://me@here/db"),
        ("postgres://me@here:5433/db?x=1", "postgresql+psycopg2://me@here:5433/db?x=1"),
        ("postgresql+psycopg2://me@here/db", "postgresql+psycopg2://me@here/db"),
        ("postgresql://me:postgres://@here/db", "postgresql+psycopg2://me:postgres://@here/db"),
    ],
)
def test_the_driver_is_spelt_out(given: str, used: str) -> None:
    assert Settings.model_validate({"DATABASE_URL": given}).sqlalchemy_url == used


def test_a_session_has_a_url_of_its_own_or_the_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://pooler/db")
    assert load().sqlalchemy_session_url == "postgresql+psycopg2://pooler/db"
    monkeypatch.setenv("DATABASE_SESSION_URL", "postgresql://server/db")
    settings = load()
    assert settings.sqlalchemy_session_url == "postgresql+psycopg2://server/db"
    assert settings.sqlalchemy_url == "postgresql+psycopg2://pooler/db"


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_database_url_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("DATABASE_URL", value)
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL is not set\..+`aparella up`"):
        load()


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@here/db")
    monkeypatch.setenv("REDIS_URL", "redis://there:6379/0")
    monkeypatch.setenv("APARELLA_MATCH_CHUNK", "77")
    monkeypatch.setenv("APARELLA_TOKEN", "s3cret")
    settings = load()
    assert settings.database_url == "postgresql://me@here/db"
    assert settings.redis_url == "redis://there:6379/0"
    assert settings.match_chunk == 77
    assert settings.token is not None
    assert settings.token.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_a_chunk_of_no_rows_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@here/db")
    monkeypatch.setenv("APARELLA_MATCH_CHUNK", value)
    with pytest.raises(ConfigurationError, match="APARELLA_MATCH_CHUNK"):
        load()


def test_a_heart_beats_several_times_in_a_lease() -> None:
    settings = Settings.model_validate({"DATABASE_URL": "postgresql://me@here/db"})
    assert settings.heartbeat_seconds * 3 <= settings.lease_seconds < settings.progress_seconds
