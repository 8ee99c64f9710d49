-- +goose Up
-- What is to be sent again of one conversation to one endpoint. Its deliveries are PENDING although their sequence <= settled_seq of
-- their lane. A row stays when nothing is left, so that its epoch never begins anew.
CREATE TABLE redelivery_lane (
    instance       TEXT   NOT NULL,
    endpoint_id    TEXT   NOT NULL,
    interaction_id TEXT   NOT NULL,
    -- How many rows of redelivery it has. Pending if and only if there are some.
    waiting        BIGINT NOT NULL,
    -- Since when it is pending.
    since          BIGINT NOT NULL,
    epoch          BIGINT NOT NULL,
    lease_until    BIGINT NOT NULL,
    next_time      BIGINT NOT NULL,
    PRIMARY KEY (instance, endpoint_id, interaction_id)
) WITHOUT ROWID;
CREATE INDEX redelivery_lane_pending ON redelivery_lane (endpoint_id, next_time) WHERE waiting > 0;

-- The deliveries that are to be sent again, lowest sequence first.
CREATE TABLE redelivery (
    instance       TEXT   NOT NULL,
    endpoint_id    TEXT   NOT NULL,
    interaction_id TEXT   NOT NULL,
    sequence       BIGINT NOT NULL,
    PRIMARY KEY (instance, endpoint_id, interaction_id, sequence)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE redelivery;
DROP TABLE redelivery_lane;
