"""All settings, read once from the environment at each entry point and passed on."""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The backend's settings. The README's table is tested to be equal to these fields."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True, extra="ignore")

    host: str = Field(
        "127.0.0.1", validation_alias="HOST", description="Address the web process listens on."
    )
    port: int = Field(
        9090,
        ge=0,
        le=65535,
        validation_alias="PORT",
        description="Port the web process listens on.",
    )
    label_studio_url: str = Field(
        "",
        validation_alias=AliasChoices("LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"),
        description="Label Studio's base URL; needed to read uploaded images and storages.",
    )
    label_studio_api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias=AliasChoices("LABEL_STUDIO_API_KEY", "LABEL_STUDIO_ACCESS_TOKEN"),
        description="Label Studio API key: a legacy token or a personal access token.",
    )
    redis_url: SecretStr = Field(
        SecretStr(""),
        validation_alias="REDIS_URL",
        description="Redis server, for example redis://host:6379/0; empty starts an embedded one.",
    )
    basic_auth_user: str = Field(
        "",
        validation_alias="BASIC_AUTH_USER",
        description="User name that Label Studio must send; empty turns basic auth off.",
    )
    basic_auth_pass: SecretStr = Field(
        SecretStr(""),
        validation_alias="BASIC_AUTH_PASS",
        description="Password that goes with BASIC_AUTH_USER.",
    )
    webhook_secret: SecretStr = Field(
        SecretStr(""),
        validation_alias="SELF1E_WEBHOOK_SECRET",
        description="If set, connect Label Studio to http://HOST:PORT/SECRET; "
        "webhooks without it are refused.",
    )
    model: str = Field(
        "demo",
        validation_alias="SELF1E_MODEL",
        description="demo (bundled), a directory, or a hub id such as UltraDoughnut/SELF1E.",
    )
    device: str = Field(
        "auto",
        validation_alias="SELF1E_DEVICE",
        description="auto (CUDA if there is one), cpu, cuda or cuda:N.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        validation_alias="SELF1E_DTYPE",
        description="auto (bfloat16 on CUDA, float32 on CPU), float32 or bfloat16.",
    )
    max_tiles: int = Field(
        1,
        ge=1,
        le=40,
        validation_alias="SELF1E_MAX_TILES",
        description="Most tiles an image is cut into; the published models use 1.",
    )
    data_dir: Path = Field(
        Path.home() / ".local" / "share" / "self1e",
        validation_alias="SELF1E_DATA_DIR",
        description="Directory for the embedded redis and the trained versions.",
    )
    embedding_cache_mb: int = Field(
        512,
        ge=0,
        validation_alias="SELF1E_EMBEDDING_CACHE_MB",
        description="Memory for image embeddings per worker, in MiB.",
    )
    max_request_mb: int = Field(
        256,
        ge=1,
        validation_alias="SELF1E_MAX_REQUEST_MB",
        description="Largest request body, in MiB (tasks carry their annotations).",
    )
    max_image_mb: int = Field(
        64, ge=1, validation_alias="SELF1E_MAX_IMAGE_MB", description="Largest image file, in MiB."
    )
    max_image_megapixels: int = Field(
        100,
        ge=1,
        le=178,  # Pillow refuses more as a decompression bomb
        validation_alias="SELF1E_MAX_IMAGE_MEGAPIXELS",
        description="Largest image, in megapixels.",
    )
    image_timeout: float = Field(
        20.0,
        gt=0,
        validation_alias="SELF1E_IMAGE_TIMEOUT",
        description="Longest time to fetch one image, in seconds.",
    )
    private_image_hosts: str = Field(
        "",
        validation_alias="SELF1E_PRIVATE_IMAGE_HOSTS",
        description="Comma-separated hosts (host or host:port) with private addresses that image "
        "URLs may name; Label Studio's own host and port are always allowed.",
    )
    local_files_root: str = Field(
        "",
        validation_alias="SELF1E_LOCAL_FILES_ROOT",
        description="Label Studio's LOCAL_FILES_DOCUMENT_ROOT if this machine sees it; "
        "local files are then read from disk.",
    )
    predict_timeout: float = Field(
        40.0,
        gt=0,
        validation_alias="SELF1E_PREDICT_TIMEOUT",
        description="Longest time a /predict request waits for the workers, in seconds.",
    )
    batch_regions: Literal["label", "instance"] = Field(
        "label",
        validation_alias="SELF1E_BATCH_REGIONS",
        description="In batches: label (one region per label) or instance (one per piece of its "
        "mask); a mode control in the labeling config decides instead.",
    )
    batch_size: int = Field(
        0,
        ge=0,
        le=64,
        validation_alias="SELF1E_BATCH_SIZE",
        description="Images of a batch that a worker encodes at once; "
        "0 is 8 on CUDA and 1 on a CPU.",
    )
    job_timeout: int = Field(
        300,
        ge=1,
        validation_alias="SELF1E_JOB_TIMEOUT",
        description="Longest time one job may run on a worker, in seconds.",
    )
    result_ttl: int = Field(
        3600,
        ge=1,
        validation_alias="SELF1E_RESULT_TTL",
        description="How long a finished prediction is kept for an identical request, in seconds.",
    )
    finetune_after: int = Field(
        0,
        ge=0,
        validation_alias="SELF1E_FINETUNE_AFTER",
        description="Accepted annotations of a project after which it is learned from; "
        "0 is only when asked.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", validation_alias="SELF1E_LOG_LEVEL", description="Least level that is logged."
    )

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the web process."""
        return self.host in {"127.0.0.1", "::1", "localhost"}

    @model_validator(mode="after")
    def _basic_auth_is_whole(self) -> "Settings":
        """One without the other would leave the backend open, or open to an empty password."""
        if bool(self.basic_auth_user) != bool(self.basic_auth_pass.get_secret_value()):
            raise ValueError("set both BASIC_AUTH_USER and BASIC_AUTH_PASS, or neither")
        return self
