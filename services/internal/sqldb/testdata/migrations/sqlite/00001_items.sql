-- +goose Up
CREATE TABLE items (
    instance TEXT NOT NULL,
    id       TEXT NOT NULL,
    body     BLOB,
    count    BIGINT NOT NULL DEFAULT 0,
    done     BOOLEAN NOT NULL DEFAULT FALSE,
    due      BIGINT,
    PRIMARY KEY (instance, id)
) WITHOUT ROWID;
