"""What a request that openapi.json allows may be answered.

A refusal is a fault unless it depends on the inventory or on the time, which no
description can say: an id that there is not, a version that has passed, a node
that has not come so far.
"""

import uuid

import schemathesis

# The server refuses these values for what is there or for when it is.
DEPENDS = {
    ("after", "OUT_OF_RANGE"),  # after the last change
    ("as_of", "OUT_OF_RANGE"),  # in the future
    ("month", "OUT_OF_RANGE"),  # has not begun
    ("until", "OUT_OF_RANGE"),  # has passed
    ("expires_at", "OUT_OF_RANGE"),
    ("cron", "INVALID"),  # a range backwards, 31 February
    ("zone", "INVALID"),  # which zones there are
    ("monthly_cost", "INVALID"),  # decimals of the currency beside it
    ("number", "INVALID"),  # what the numbering plan finds
    ("number_end", "INVALID"),
    ("number_end", "OUT_OF_RANGE"),  # before the number beside it
    ("numbers", "INVALID"),
    ("add", "MISSING"),  # both lists empty
}

# The operator's settings say which hosts may be named.
HOSTS = ("not a public address", "private or special address", "Rollcall itself listens", "operator's own")


@schemathesis.hook
def before_call(context, case, kwargs):
    """A key for each request: one that was used for another is refused."""
    if case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
    # A later version is waited for, and then 503: seconds for each.
    if case.headers and "Inventory-Version-At-Least" in case.headers:
        case.headers["Inventory-Version-At-Least"] = "1"


@schemathesis.check
def refuses_nothing_that_is_allowed(context, response, case):
    if response.status_code in (200, 201, 202, 204, 304, 404, 409, 412, 413, 429):
        return
    error = response.json()["error"]
    assert response.status_code == 422, f"{response.status_code}: {error}"
    # What is not known, is there twice or does not go with another field.
    wrong = [
        one
        for one in error["details"]["errors"]
        if one["code"] not in ("UNKNOWN", "REPEATED", "CONFLICT")
        # What a verb takes is described with the verb.
        and not one["field"].startswith("params")
        and not any(words in one["message"] for words in HOSTS)
        and (one["field"].split(".")[-1].split("[")[0], one["code"]) not in DEPENDS
    ]
    assert not wrong, wrong
