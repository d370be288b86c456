"""The configuration of every verb: one dataclass a verb, its fields are its flags."""

from dataclasses import dataclass

from beam_jobs.config.flags import Choice, Parameter, flag, switch
from beam_jobs.config.months import EXPECTED_MONTH, MONTH


class Gate(Choice):
    """Who decides whether a run is published."""

    HOLD = "HOLD", "the policy's findings hold the run until it is approved"
    PUBLISH = "PUBLISH", "published in spite of findings that would hold it; they are reported"
    HOLD_ALWAYS = "HOLD_ALWAYS", "every run waits for approval"


@dataclass(frozen=True, kw_only=True)
class WarehouseConfig:
    """Verbs that look at the warehouse or decide about a run in it."""

    warehouse: str = flag(
        "Tables that are read and written: duckdb:PATH, or bigquery:PROJECT.DATASET"
        " (docs/bigquery.md)",
        metavar="URL",
        example="duckdb:ads.duckdb",
        required=True,
        is_path=True,
        path_scheme="duckdb:",
        environment="BEAM_JOBS_WAREHOUSE",
        template_example="bigquery:my-project.ads",
    )
    json: bool = switch(
        "Print JSON for programs; a job prints one object as its last line",
        in_template=False,
        in_file=True,
    )


@dataclass(frozen=True, kw_only=True)
class QueryConfig(WarehouseConfig):
    """Asks the warehouse, or one run's folder, in SQL."""

    run: str | None = flag(
        "Ask this run's own rows instead, in DuckDB's SQL: tables scores, quarantine, anomalies,"
        " feature_statistics and inputs of its folder, also where it is not published",
        metavar="RUN",
        example="3f2c9a1b5d7e8f60",
        in_file=False,
    )
    file: str | None = flag(
        "File that holds the query, in place of SQL",
        metavar="FILE",
        example="drift.sql",
        is_path=True,
        in_file=False,
    )
    csv: bool = switch(
        "Print CSV (RFC 4180) for programs: a null is an empty cell, an empty text is quoted"
    )


@dataclass(frozen=True, kw_only=True)
class RejectConfig(WarehouseConfig):
    """Ends a held run."""

    reason: str | None = flag(
        "Why; kept in the table publications, beside who and when",
        example="'the new site is expected'",
        in_file=False,
    )


@dataclass(frozen=True, kw_only=True)
class ApproveConfig(RejectConfig):
    """Publishes a run by a person's decision."""

    yes: bool = switch(
        "Publish also where nothing is scored, or rows fall to half or less; of approve, also where"
        " a newer run is published"
    )


@dataclass(frozen=True, kw_only=True)
class RollbackConfig(ApproveConfig):
    """Puts an earlier run of a month back."""

    month: str = flag(
        "Month to put back", metavar="YYYY-MM", example="2026-10", required=True, in_file=False
    )
    to: str | None = flag(
        "Run to put back, an earlier or a later one; without it the one that was published before"
        " the current one",
        metavar="RUN",
        example="3f2c9a1b5d7e8f60",
        in_file=False,
    )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How rows are read and scored; shared by `baseline` and the jobs."""

    key: str | None = flag(
        "Column that identifies a row; without it the key is empty and duplicates are not"
        " looked for",
        metavar="NAME",
        example="ad_id",
    )
    label: str | None = flag(
        "Column with the outcome: kept and reported, never given to the model",
        metavar="NAME",
        example="clicked",
    )
    signature: str = flag(
        "Signature of the SavedModel", default="serving_default", metavar="NAME", example="predict"
    )
    score: str | None = flag(
        "Output, and column of it, that is the score; without it the only output or the"
        " positive class",
        metavar="OUTPUT[:INDEX]",
        example="probabilities:1",
    )
    slice: tuple[str, ...] = flag(
        "Feature whose values get statistics and anomalies of their own; may be repeated",
        default=(),
        metavar="FEATURE",
        example="device",
    )
    images: str | None = flag(
        "Folder or gs:// prefix of the banner images that rows name (docs/images.md)",
        metavar="PREFIX",
        example="banners",
        is_path=True,
        parameter=Parameter.GCS_READ_FOLDER,
    )
    image: str | None = flag(
        "Column that names a row's image, below --images; without it the feature with an"
        " image_domain in the schema, else the only text column with 'image' or 'banner' in its"
        " name",
        metavar="NAME",
        example="banner",
    )
    image_max_bytes: int = flag(
        "Largest encoded image, in bytes; larger ones are IMAGE_TOO_LARGE",
        default=10 * 1024 * 1024,
        metavar="BYTES",
        example="2000000",
    )
    image_max_pixels: int = flag(
        "Largest image, in pixels (width x height); larger ones are IMAGE_TOO_LARGE",
        default=25_000_000,
        metavar="PIXELS",
        example="4000000",
    )
    image_timeout: int = flag(
        "How long to try to read one image while storage fails, in seconds",
        default=30,
        metavar="SECONDS",
        example="120",
    )


@dataclass(frozen=True, kw_only=True)
class BaselineConfig(DataConfig):
    """Training data in, schema and statistics out."""

    data: tuple[str, ...] = flag(
        "Training data: glob of .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet; may be repeated",
        default=(),
        metavar="PATTERN",
        example="'training/*.csv'",
        required=True,
        is_path=True,
        is_pattern=True,
    )
    out: str = flag(
        "Folder for schema.pbtxt (an existing one is kept) and statistics.binpb",
        metavar="DIR",
        example="baseline",
        required=True,
        is_path=True,
    )
    model: str | None = flag(
        "SavedModel whose scores on the training data join the statistics",
        metavar="MODEL",
        example="models/ads",
        is_path=True,
    )


@dataclass(frozen=True, kw_only=True)
class JobConfig(DataConfig, WarehouseConfig):
    """What the jobs share."""

    model: str = flag(
        "SavedModel folder, or a folder of numbered versions (aliases.json names the champion);"
        " FOLDER@ALIAS picks another alias",
        metavar="MODEL",
        example="models/ads",
        required=True,
        is_path=True,
        parameter=Parameter.GCS_READ_FOLDER,
    )
    schema: str = flag(
        "TFDV schema that rows and statistics are checked against",
        metavar="FILE",
        example="baseline/schema.pbtxt",
        required=True,
        is_path=True,
        parameter=Parameter.GCS_READ_FILE,
    )
    runs: str = flag(
        "Folder for the runs' results: RUNS/JOB/PERIOD/RUN",
        metavar="DIR",
        example="runs",
        required=True,
        is_path=True,
        parameter=Parameter.GCS_WRITE_FOLDER,
    )
    baseline: str | None = flag(
        "Statistics of the training data, for skew: .binpb, FeatureStats.pb, TFRecord or text",
        metavar="FILE",
        example="baseline/statistics.binpb",
        is_path=True,
        parameter=Parameter.GCS_READ_FILE,
    )
    previous: str | None = flag(
        "Statistics to measure drift against; without it those of the latest published run of"
        " the month before",
        metavar="FILE",
        example="runs/monthly/2026-09/3f2c9a1b5d7e8f60/statistics.binpb",
        is_path=True,
        parameter=Parameter.GCS_READ_FILE,
    )
    policy: str | None = flag(
        "Policy: which findings quarantine, thresholds, what holds a run (docs/policy.md)",
        metavar="FILE",
        example="policy.toml",
        is_path=True,
        parameter=Parameter.GCS_READ_FILE,
    )
    notify: str | None = flag(
        "Webhook that is told how each run ended, or a file that holds its address, which is a"
        " secret; Slack's shape for Slack's addresses, else JSON",
        metavar="URL",
        example="https://hooks.slack.com/services/T0/B0/x",
        is_path=True,
        environment="BEAM_JOBS_NOTIFY",
        template_example="gs://my-bucket/secrets/webhook.txt",
    )
    gate: Gate = flag(
        "Who decides whether a run is published", default=Gate.HOLD, example="PUBLISH"
    )
    plan: bool = switch(
        "Print what would be read and compared, and the run id; change nothing", in_template=False
    )
    prices: str | None = flag(
        "Prices of Google Cloud, with which --plan estimates what the run costs (docs/costs.md)",
        metavar="FILE",
        example="prices.toml",
        is_path=True,
        in_template=False,
    )
    force: bool = switch(
        "Compute and publish again even where the same run is published already; of the queue:"
        " take the request files of held runs again, never answered ones"
    )


@dataclass(frozen=True, kw_only=True)
class MonthlyConfig(JobConfig):
    """The monthly job."""

    month: str = flag(
        "Month to run; 'previous' is the month before the current one in --timezone",
        metavar="YYYY-MM|previous",
        example="2026-10",
        required=True,
        pattern=MONTH,
        expected=EXPECTED_MONTH,
        template_example="previous",
    )
    ads: tuple[str, ...] = flag(
        "Ads of the month: glob of .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet; {month} stands"
        " for 2026-10, {month:%Y/%m} takes any strftime form; may be repeated",
        default=(),
        metavar="PATTERN",
        example="'ads/{month}/*.csv'",
        required=True,
        is_path=True,
        is_pattern=True,
        parameter=Parameter.GCS_READ_FILE,
    )
    previous_run: str | None = flag(
        "Run to measure drift against, published or held, instead of the published run of the"
        " month before",
        metavar="RUN",
        example="3f2c9a1b5d7e8f60",
        in_file=False,
    )
    timezone: str = flag(
        "Time zone of --month previous", default="UTC", metavar="ZONE", example="Europe/Berlin"
    )


@dataclass(frozen=True, kw_only=True)
class RequestsConfig(JobConfig):
    """The queue job."""

    queue: tuple[str, ...] = flag(
        "Request files: glob of .jsonl or .jsonl.gz (docs/requests.md); may be repeated",
        default=(),
        metavar="PATTERN",
        example="'queue/*.jsonl'",
        required=True,
        is_path=True,
        is_pattern=True,
        parameter=Parameter.GCS_READ_FILE,
    )
    responses: str | None = flag(
        "Folder for answers, one file a request file; without it scores go to the warehouse only",
        metavar="PREFIX",
        example="responses",
        is_path=True,
        parameter=Parameter.GCS_WRITE_FOLDER,
    )
    watch: float | None = flag(
        "Keep answering: look for new request files so many seconds after a round has ended,"
        " until interrupted",
        metavar="SECONDS",
        example="30",
        in_template=False,
    )
    drift_rows: int = flag(
        "Rows that drift is measured against: those of the latest published runs, of as many as"
        " it takes, at most 30",
        default=10_000,
        metavar="N",
        example="50000",
    )
    timezone: str = flag(
        "Time zone whose day a run belongs to", default="UTC", metavar="ZONE",
        example="Europe/Berlin",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TemplateConfig:
    """Prints what Dataflow needs to know of a Flex Template."""

    image: str | None = flag(
        "Container image; with it the whole template file is printed, without it the metadata",
        metavar="IMAGE",
        example="europe-docker.pkg.dev/my-project/beam-jobs/monthly:1.0",
        in_file=False,
    )


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Makes data and a model, and runs everything on them."""

    dir: str = flag("Folder for everything that the demo makes", default="demo", metavar="DIR",
                    example="/tmp/demo", in_file=False)  # fmt: skip
    rows: int = flag("Ads a month (rows)", default=200_000, metavar="N", example="20000",
                     in_file=False)  # fmt: skip
