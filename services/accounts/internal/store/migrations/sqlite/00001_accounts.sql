-- +goose Up

-- An instance. Its slug, the column instance, is never used again: there is no statement that deletes one.
CREATE TABLE instance (
    instance           TEXT    NOT NULL PRIMARY KEY,
    display_name       TEXT    NOT NULL,
    time_zone          TEXT    NOT NULL,
    inactivity_timeout INTEGER NOT NULL, -- microseconds
    retention          INTEGER,          -- microseconds; NULL is for ever
    create_time        INTEGER NOT NULL,
    update_time        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_key (
    instance      TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    display_name  TEXT    NOT NULL,
    scopes        TEXT    NOT NULL, -- separated by spaces
    secret_hash   BLOB    NOT NULL, -- HMAC-SHA256 of the secret
    expire_time   INTEGER,
    last_use_time INTEGER,
    create_time   INTEGER NOT NULL,
    PRIMARY KEY (instance, id)
) STRICT, WITHOUT ROWID;

-- A key that is shown names no instance.
CREATE INDEX api_key_by_id ON api_key (id);

CREATE INDEX api_key_by_age ON api_key (instance, create_time, id);

CREATE TABLE idempotency (
    instance    TEXT    NOT NULL,
    scope       TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    response    BLOB,
    expire_time INTEGER NOT NULL,
    PRIMARY KEY (instance, scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_expire_time ON idempotency (expire_time);

-- What keys have used of their limits. The process counts in memory, and here are the calls that it has reserved.
CREATE TABLE key_usage (
    instance  TEXT    NOT NULL,
    key_id    TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    day       INTEGER NOT NULL, -- days from 1970-01-01
    used      INTEGER NOT NULL, -- calls of that day: the number when last_time is there, else as many as there may be
    last_time INTEGER,          -- the last call, microseconds, when the process ended in order
    PRIMARY KEY (instance, key_id, kind)
) STRICT, WITHOUT ROWID;

-- Which process does a work that only one may do. The instance is empty: such work is for all.
CREATE TABLE worker_lease (
    instance    TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    holder      TEXT    NOT NULL,
    epoch       INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    PRIMARY KEY (instance, name)
) STRICT, WITHOUT ROWID;
