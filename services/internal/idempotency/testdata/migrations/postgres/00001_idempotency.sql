-- +goose Up
CREATE TABLE idempotency (
    instance    TEXT COLLATE "C" NOT NULL,
    scope       TEXT COLLATE "C" NOT NULL,
    key         TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA            NOT NULL,
    response    BYTEA,
    expire_time BIGINT           NOT NULL,
    PRIMARY KEY (instance, scope, key)
);
CREATE INDEX idempotency_expire_time ON idempotency (expire_time);
CREATE TABLE effects (
    id BIGINT NOT NULL PRIMARY KEY
);
CREATE TABLE worker_lease (
    instance TEXT NOT NULL, name TEXT NOT NULL, holder TEXT NOT NULL, epoch BIGINT NOT NULL, expire_time BIGINT NOT NULL,
    PRIMARY KEY (instance, name)
);
