"""The columns of a simulated platform's tables."""

import pyarrow as pa

_TIME = pa.timestamp("us", tz="UTC")

#: The columns of every table.
SCHEMAS: dict[str, pa.Schema] = {
    name: pa.schema(list(columns.items()))
    for name, columns in {
        "accounts": {
            "account_id": pa.int64(),
            "created_at": _TIME,
            "language": pa.string(),
            "dialect": pa.string(),
            "signup_ip": pa.string(),
            "utc_offset_hours": pa.int64(),
        },
        "posts": {
            "post_id": pa.int64(),
            "account_id": pa.int64(),
            "created_at": _TIME,
            "text": pa.string(),
            "language": pa.string(),
            "dialect": pa.string(),
            "place": pa.string(),
            "reply_to_account_id": pa.int64(),
            "account_age_days": pa.float64(),
        },
        "events": {
            "account_id": pa.int64(),
            "at": _TIME,
            "action": pa.string(),
            "ip": pa.string(),
            "post_id": pa.int64(),
        },
        "edges": {
            "source_id": pa.int64(),
            "target_id": pa.int64(),
            "kind": pa.string(),
            "created_at": _TIME,
        },
        "reports": {
            "post_id": pa.int64(),
            "reporter_id": pa.int64(),
            "reported_at": _TIME,
            "reason": pa.string(),
        },
        "labels": {
            "post_id": pa.int64(),
            "labelled_at": _TIME,
            "label": pa.int8(),
            "source": pa.string(),
            "probability": pa.float64(),
        },
        "appeals": {
            "post_id": pa.int64(),
            "account_id": pa.int64(),
            "appealed_at": _TIME,
            "decided_at": _TIME,
            "outcome": pa.string(),
        },
        "truth": {
            "post_id": pa.int64(),
            "violating": pa.int8(),
            "kind": pa.string(),
            "role": pa.string(),
            "campaign": pa.int64(),
            "scripted": pa.bool_(),
            "hidden_words": pa.bool_(),
            "flagged": pa.bool_(),
            "brigaded": pa.bool_(),
            "p_text": pa.float64(),
            "p_all": pa.float64(),
        },
        "account_truth": {
            "account_id": pa.int64(),
            "role": pa.string(),
            "campaign": pa.int64(),
        },
        "training": {
            "post_id": pa.int64(),
            "created_at": _TIME,
            "text": pa.string(),
            "language": pa.string(),
            "dialect": pa.string(),
            "place": pa.string(),
            "account_age_days": pa.float64(),
            "label": pa.int8(),
            "label_source": pa.string(),
            "split": pa.string(),
        },
    }.items()
}
