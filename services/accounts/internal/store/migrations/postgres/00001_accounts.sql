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
