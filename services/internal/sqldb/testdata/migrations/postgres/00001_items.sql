-- +goose Up
CREATE TABLE items (
    instance TEXT COLLATE "C" NOT NULL,
    id       TEXT COLLATE "C" NOT NULL,
    body     BYTEA,
    count    BIGINT NOT NULL DEFAULT 0,
    done     BOOLEAN NOT NULL DEFAULT FALSE,
    due      BIGINT,
    PRIMARY KEY (instance, id)
);
