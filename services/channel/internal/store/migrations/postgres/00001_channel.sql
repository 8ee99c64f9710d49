-- +goose Up
CREATE TABLE channel (
    instance           TEXT COLLATE "C" NOT NULL,
    id                 TEXT COLLATE "C" NOT NULL,
    display_name       TEXT COLLATE "C" NOT NULL,
    agent_id           TEXT COLLATE "C" NOT NULL,
    webhook_url        TEXT COLLATE "C" NOT NULL,
    test               BOOLEAN NOT NULL,
    inbound_token_hash BYTEA,
    acknowledgement    TEXT COLLATE "C" NOT NULL,
    timeout_ms         BIGINT  NOT NULL,
    failure_policy     TEXT COLLATE "C" NOT NULL,
    -- 0: only the end of the schedule gives a delivery up.
    skip_after_ms      BIGINT  NOT NULL,
    state              TEXT COLLATE "C" NOT NULL,
    state_reason       TEXT COLLATE "C" NOT NULL,
    secret             BYTEA NOT NULL,
    create_time        BIGINT  NOT NULL,
    update_time        BIGINT  NOT NULL,
    -- A deleted channel stays as a tombstone: what was accepted before is cancelled behind it, in batches.
    delete_time        BIGINT,
    -- When all that a deleted channel left behind had been cancelled.
    reap_time          BIGINT,
    PRIMARY KEY (instance, id)
);
CREATE INDEX channel_by_id ON channel (id);
CREATE INDEX channel_by_age ON channel (instance, create_time, id) WHERE delete_time IS NULL;
CREATE INDEX channel_unreaped ON channel (delete_time) WHERE delete_time IS NOT NULL AND reap_time IS NULL;

-- An integration of the Bot API.
CREATE TABLE bot_api (
    instance        TEXT COLLATE "C" NOT NULL,
    id              TEXT COLLATE "C" NOT NULL,
    display_name    TEXT COLLATE "C" NOT NULL,
    agent_id        TEXT COLLATE "C" NOT NULL,
    squad           TEXT COLLATE "C" NOT NULL,
    version         TEXT COLLATE "C" NOT NULL,
    -- Empty: none. The token is sealed, and there exactly if the URL is.
    callback_url    TEXT COLLATE "C" NOT NULL,
    callback_token  BYTEA,
    include_context BOOLEAN NOT NULL,
    token_hash      BYTEA   NOT NULL,
    state           TEXT COLLATE "C" NOT NULL,
    state_reason    TEXT COLLATE "C" NOT NULL,
    secret          BYTEA   NOT NULL,
    create_time     BIGINT  NOT NULL,
    update_time     BIGINT  NOT NULL,
    -- As with a channel.
    delete_time     BIGINT,
    reap_time       BIGINT,
    PRIMARY KEY (instance, id)
);
CREATE INDEX bot_api_by_id ON bot_api (id);
CREATE INDEX bot_api_by_age ON bot_api (instance, create_time, id) WHERE delete_time IS NULL;
CREATE INDEX bot_api_unreaped ON bot_api (delete_time) WHERE delete_time IS NOT NULL AND reap_time IS NULL;

-- The inbound lane of one person on one channel, or on one integration of the Bot API: channel_id is the id of either. Pending if and only if done_seq < last_seq.
CREATE TABLE thread (
    instance          TEXT COLLATE "C" NOT NULL,
    channel_id        TEXT COLLATE "C" NOT NULL,
    client_identifier TEXT COLLATE "C" NOT NULL,
    last_seq          BIGINT NOT NULL,
    done_seq          BIGINT NOT NULL,
    -- Raised by everyone who takes the thread; a result with an older epoch is refused.
    epoch             BIGINT NOT NULL,
    -- 0: nobody holds it.
    lease_until       BIGINT NOT NULL,
    -- Consecutive failures of the head, for the wait; and how many of them were final.
    failures          BIGINT NOT NULL,
    strikes           BIGINT NOT NULL,
    -- When it may next be taken; while it is held, the end of the lease.
    next_time         BIGINT NOT NULL,
    -- The process that holds it, by its token; 0: it cannot be told whether that lives. It means nothing while nobody holds it.
    holder            BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (instance, channel_id, client_identifier)
) WITH (fillfactor = 80);
-- The instance comes first, so that a busy instance is stepped over without reading its threads.
CREATE INDEX thread_pending ON thread (instance, next_time) WHERE done_seq < last_seq;

-- The inbox. A message is done if and only if its seq <= done_seq of its thread.
CREATE TABLE message (
    instance          TEXT COLLATE "C" NOT NULL,
    channel_id        TEXT COLLATE "C" NOT NULL,
    client_identifier TEXT COLLATE "C" NOT NULL,
    seq               BIGINT NOT NULL,
    id                TEXT COLLATE "C" NOT NULL,
    text              TEXT COLLATE "C" NOT NULL,
    postback          TEXT COLLATE "C" NOT NULL,
    -- A serialized google.protobuf.Struct; NULL: none.
    context           BYTEA,
    create_time       BIGINT NOT NULL,
    -- Why no turn answered it: a stable word. NULL: it is pending, was answered, or was cancelled.
    set_aside         TEXT COLLATE "C",
    -- The traceparent (W3C Trace Context) of the call that brought it; NULL: nobody traces it.
    trace             TEXT COLLATE "C",
    -- Of what people said in the agent's place: the conversation to which it goes. NULL: the person said it.
    reply_to          TEXT COLLATE "C",
    PRIMARY KEY (instance, channel_id, client_identifier, seq)
);

-- All deliveries of one conversation to one endpoint, in order. Pending if and only if settled_seq < last_seq. Parked if and only if
-- next_time is the largest number there is: the delivery behind settled_seq is dead then, and what follows it waits for somebody.
CREATE TABLE lane (
    instance       TEXT COLLATE "C" NOT NULL,
    endpoint_id    TEXT COLLATE "C" NOT NULL,
    interaction_id TEXT COLLATE "C" NOT NULL,
    last_seq       BIGINT NOT NULL,
    settled_seq    BIGINT NOT NULL,
    epoch          BIGINT NOT NULL,
    lease_until    BIGINT NOT NULL,
    next_time      BIGINT NOT NULL,
    -- As with a thread.
    holder         BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (instance, endpoint_id, interaction_id)
) WITH (fillfactor = 80);
-- The endpoint comes first, so that a full endpoint is stepped over without reading its lanes.
CREATE INDEX lane_pending ON lane (endpoint_id, next_time) WHERE settled_seq < last_seq;

CREATE TABLE delivery (
    instance       TEXT COLLATE "C" NOT NULL,
    endpoint_id    TEXT COLLATE "C" NOT NULL,
    interaction_id TEXT COLLATE "C" NOT NULL,
    sequence       BIGINT NOT NULL,
    id             TEXT COLLATE "C" NOT NULL,
    contact_id     TEXT COLLATE "C" NOT NULL,
    body           BYTEA NOT NULL,
    state          TEXT COLLATE "C" NOT NULL,
    attempt_count  BIGINT NOT NULL,
    -- JSON list; NULL: none yet.
    attempts       TEXT COLLATE "C",
    create_time    BIGINT NOT NULL,
    settle_time    BIGINT,
    -- The traceparent of the turn that made it; NULL: nobody traces it.
    trace          TEXT COLLATE "C",
    PRIMARY KEY (instance, endpoint_id, interaction_id, sequence)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX delivery_by_id ON delivery (instance, id);
-- Deliveries that are dead, of one endpoint and of all. An index of a rare state costs the others only the look at their state.
CREATE INDEX delivery_dead ON delivery (instance, endpoint_id, id) WHERE state = 'DEAD';
CREATE INDEX delivery_dead_by_id ON delivery (instance, id) WHERE state = 'DEAD';

CREATE TABLE idempotency (
    instance    TEXT COLLATE "C" NOT NULL,
    scope       TEXT COLLATE "C" NOT NULL,
    key         TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA NOT NULL,
    response    BYTEA,
    expire_time BIGINT NOT NULL,
    PRIMARY KEY (instance, scope, key)
);
CREATE INDEX idempotency_expire_time ON idempotency (expire_time);

-- Who was erased, without saying who. See package erasure.
CREATE TABLE erasure (
    instance    TEXT COLLATE "C" NOT NULL,
    person      TEXT COLLATE "C" NOT NULL, -- a keyed hash
    cut_time    BIGINT NOT NULL,           -- what was accepted up to then is erased
    counts      TEXT   NOT NULL,           -- a JSON object: how many of which kind
    finish_time BIGINT,                    -- NULL until all of it was deleted
    scrub_time  BIGINT,                    -- NULL while something may be left of it in the files; 0 when there was nothing
    PRIMARY KEY (instance, person, cut_time)
);

CREATE INDEX erasure_by_time ON erasure (instance, cut_time, person);

-- Who does a work that only one process may do. The instance is empty: such work is for all of them.
CREATE TABLE worker_lease (
    instance    TEXT COLLATE "C" NOT NULL,
    name        TEXT COLLATE "C" NOT NULL,
    holder      TEXT   NOT NULL,
    epoch       BIGINT NOT NULL,
    expire_time BIGINT NOT NULL,
    PRIMARY KEY (instance, name)
);

-- +goose Down
DROP TABLE worker_lease;
DROP TABLE erasure;
DROP TABLE idempotency;
DROP TABLE delivery;
DROP TABLE lane;
DROP TABLE message;
DROP TABLE thread;
DROP TABLE bot_api;
DROP TABLE channel;
