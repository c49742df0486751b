"""Everything the processes read from their environment, and the only place that reads it."""

from functools import lru_cache
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of api, worker and scheduler. Names in the environment: `DETRDISTILL_<FIELD>`, but for the two URLs."""

    model_config = SettingsConfigDict(env_prefix="DETRDISTILL_", extra="ignore", use_attribute_docstrings=True)

    database_url: str = Field(validation_alias="DATABASE_URL")
    """PostgreSQL 15 or newer, as `postgresql://user:password@host/name`."""
    redis_url: str = Field(default="redis://127.0.0.1:6379/0", validation_alias="REDIS_URL")
    """Redis-protocol broker of the worker and the scheduler. The api does not use it."""
    storage_dir: Path = Path(".run/storage")
    """Datasets, checkpoints, work directories and artifacts; shared by api and worker."""
    import_root: Path | None = None
    """Folder of this machine from which datasets and checkpoints may be registered by path. Unset: none may."""
    dashboard_dir: Path = Path(__file__).resolve().parents[1] / "frontend" / "dist"
    """The built dashboard."""
    allowed_hosts: list[str] = ["*"]
    """Host names the api answers to; a list of its own names defends against DNS rebinding."""
    max_upload_bytes: int = 20 * 1024**3
    """Largest request body."""
    max_unpacked_bytes: int = 100 * 1024**3
    """Largest content of one uploaded archive."""
    lease_seconds: float = 60
    """A running job whose worker has not renewed its lease for so long is given to another."""
    renew_seconds: float = 10
    """A worker renews its lease this often."""
    redispatch_seconds: float = 30
    """A queued job that nobody has claimed is announced again after this time, and then less and less often."""
    sweep_seconds: float = 5
    """Expired leases are looked for this often."""
    stop_grace_seconds: float = 120
    """A training process that was asked to stop may take so long to write its checkpoint."""
    check_wait_seconds: float = 20
    """An upload is answered with what its check found, if that is known within this time; else with `checking`."""
    checks_at_once: int = Field(default=2, ge=1)
    """Checks that one checker runs side by side; with two or more, one is kept for checkpoints."""
    check_memory_bytes: int = Field(default=8 * 1024**3, ge=64 * 1024**2)
    """Memory that one check may take, beside the libraries that all checks share."""
    check_silence_seconds: float = Field(default=120, gt=0)
    """A check that shows no progress for so long is ended and its files are refused."""
    check_seconds: float = Field(default=600, gt=0)
    """A check may take this time, and one second more for each MiB of its files."""
    check_attempts: int = Field(default=3, ge=1)
    """Files whose check has ended its process so often are refused."""
    keep_refused_days: float = Field(default=7, ge=0)
    """A refused dataset or checkpoint that no job names is forgotten after this time."""

    @property
    def alive_seconds(self) -> float:
        """A worker or checker that has given a sign within this time is there."""
        return 3 * self.renew_seconds + 5

    stall_seconds: float = 900
    """A training that has given no sign of progress for so long is ended; the first sign of each stage (imports,
    compilation, a first step) may take four times as long."""

    @field_validator("database_url")
    @classmethod
    def with_driver(cls, url: str) -> str:
        """The URL with the name of the driver, as SQLAlchemy wants it."""
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
            raise ValueError("DATABASE_URL must begin with postgresql://")
        return f"postgresql+psycopg://{rest}"


@lru_cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()  # pyright: ignore[reportCallIssue]  the fields come from the environment
