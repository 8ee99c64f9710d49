-- +goose Up

-- An instance. Its slug, the column instance, is never used again: there is no statement that deletes one.
CREATE TABLE instance (
    instance           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    display_name       TEXT   NOT NULL,
    time_zone          TEXT   NOT NULL,
    inactivity_timeout BIGINT NOT NULL, -- microseconds
    retention          BIGINT,          -- microseconds; NULL is for ever
    create_time        BIGINT NOT NULL,
    update_time        BIGINT NOT NULL
);

CREATE TABLE api_key (
    instance      TEXT COLLATE "C" NOT NULL,
    id            TEXT COLLATE "C" NOT NULL,
    display_name  TEXT   NOT NULL,
    scopes        TEXT   NOT NULL, -- separated by spaces
    secret_hash   BYTEA  NOT NULL, -- HMAC-SHA256 of the secret
    expire_time   BIGINT,
    last_use_time BIGINT,
    create_time   BIGINT NOT NULL,
    PRIMARY KEY (instance, id)
);

-- A key that is shown names no instance.
CREATE INDEX api_key_by_id ON api_key (id);

CREATE INDEX api_key_by_age ON api_key (instance, create_time, id);

CREATE TABLE idempotency (
    instance    TEXT COLLATE "C" NOT NULL,
    scope       TEXT COLLATE "C" NOT NULL,
    key         TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA  NOT NULL,
    response    BYTEA,
    expire_time BIGINT NOT NULL,
    PRIMARY KEY (instance, scope, key)
);

CREATE INDEX idempotency_expire_time ON idempotency (expire_time);

-- What keys have used of their limits. All processes count here; a row is changed by every call that is allowed, and nothing of it
-- is in an index but the key, so that the changes stay on its page.
CREATE TABLE key_usage (
    instance TEXT COLLATE "C" NOT NULL,
    key_id   TEXT COLLATE "C" NOT NULL,
    kind     TEXT COLLATE "C" NOT NULL,
    day      BIGINT   NOT NULL, -- days from 1970-01-01
    used     BIGINT   NOT NULL, -- calls of that day
    times    BIGINT[] NOT NULL, -- the last calls, oldest first, microseconds
    PRIMARY KEY (instance, key_id, kind)
) WITH (fillfactor = 50);

-- Which process does a work that only one may do. The instance is empty: such work is for all.
CREATE TABLE worker_lease (
    instance    TEXT COLLATE "C" NOT NULL,
    name        TEXT COLLATE "C" NOT NULL,
    holder      TEXT   NOT NULL,
    epoch       BIGINT NOT NULL,
    expire_time BIGINT NOT NULL,
    PRIMARY KEY (instance, name)
);
