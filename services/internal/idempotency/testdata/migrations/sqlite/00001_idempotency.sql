-- +goose Up
CREATE TABLE idempotency (
    instance    TEXT   NOT NULL,
    scope       TEXT   NOT NULL,
    key         TEXT   NOT NULL,
    fingerprint BLOB   NOT NULL,
    response    BLOB,
    expire_time BIGINT NOT NULL,
    PRIMARY KEY (instance, scope, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_expire_time ON idempotency (expire_time);
CREATE TABLE effects (
    id BIGINT NOT NULL PRIMARY KEY
);
CREATE TABLE worker_lease (
    instance TEXT NOT NULL, name TEXT NOT NULL, holder TEXT NOT NULL, epoch BIGINT NOT NULL, expire_time BIGINT NOT NULL,
    PRIMARY KEY (instance, name)
);
