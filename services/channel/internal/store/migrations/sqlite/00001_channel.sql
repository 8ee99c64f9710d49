-- +goose Up
CREATE TABLE channel (
    instance           TEXT    NOT NULL,
    id                 TEXT    NOT NULL,
    display_name       TEXT    NOT NULL,
    agent_id           TEXT    NOT NULL,
    webhook_url        TEXT    NOT NULL,
    test               BOOLEAN NOT NULL,
    inbound_token_hash BLOB,
    acknowledgement    TEXT    NOT NULL,
    timeout_ms         BIGINT  NOT NULL,
    failure_policy     TEXT    NOT NULL,
    -- 0: only the end of the schedule gives a delivery up.
    skip_after_ms      BIGINT  NOT NULL,
    state              TEXT    NOT NULL,
    state_reason       TEXT    NOT NULL,
    secret             BLOB    NOT NULL,
    create_time        BIGINT  NOT NULL,
    update_time        BIGINT  NOT NULL,
    -- A deleted channel stays as a tombstone: what was accepted before is cancelled behind it, in batches.
    delete_time        BIGINT,
    -- When all that a deleted channel left behind had been cancelled.
    reap_time          BIGINT,
    PRIMARY KEY (instance, id)
) WITHOUT ROWID;
CREATE INDEX channel_by_id ON channel (id);
CREATE INDEX channel_by_age ON channel (instance, create_time, id) WHERE delete_time IS NULL;
CREATE INDEX channel_unreaped ON channel (delete_time) WHERE delete_time IS NOT NULL AND reap_time IS NULL;

-- An integration of the Bot API.
CREATE TABLE bot_api (
    instance        TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    display_name    TEXT    NOT NULL,
    agent_id        TEXT    NOT NULL,
    squad           TEXT    NOT NULL,
    version         TEXT    NOT NULL,
    -- Empty: none. The token is sealed, and there exactly if the URL is.
    callback_url    TEXT    NOT NULL,
    callback_token  BLOB,
    include_context BOOLEAN NOT NULL,
    token_hash      BLOB    NOT NULL,
    state           TEXT    NOT NULL,
    state_reason    TEXT    NOT NULL,
    secret          BLOB    NOT NULL,
    create_time     BIGINT  NOT NULL,
    update_time     BIGINT  NOT NULL,
    -- As with a channel.
    delete_time     BIGINT,
    reap_time       BIGINT,
    PRIMARY KEY (instance, id)
) WITHOUT ROWID;
CREATE INDEX bot_api_by_id ON bot_api (id);
CREATE INDEX bot_api_by_age ON bot_api (instance, create_time, id) WHERE delete_time IS NULL;
CREATE INDEX bot_api_unreaped ON bot_api (delete_time) WHERE delete_time IS NOT NULL AND reap_time IS NULL;

-- The inbound lane of one person on one channel, or on one integration of the Bot API: channel_id is the id of either. Pending if and only if done_seq < last_seq.
CREATE TABLE thread (
    instance          TEXT   NOT NULL,
    channel_id        TEXT   NOT NULL,
    client_identifier TEXT   NOT NULL,
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
    PRIMARY KEY (instance, channel_id, client_identifier)
) WITHOUT ROWID;
-- The instance comes first, so that a busy instance is stepped over without reading its threads.
CREATE INDEX thread_pending ON thread (instance, next_time) WHERE done_seq < last_seq;

-- The inbox. A message is done if and only if its seq <= done_seq of its thread. It and delivery are not clustered by their keys
-- (WITHOUT ROWID): their wide rows then lie in the order of coming, where a group of new ones touches few pages.
CREATE TABLE message (
    instance          TEXT   NOT NULL,
    channel_id        TEXT   NOT NULL,
    client_identifier TEXT   NOT NULL,
    seq               BIGINT NOT NULL,
    id                TEXT   NOT NULL,
    text              TEXT   NOT NULL,
    postback          TEXT   NOT NULL,
    -- A serialized google.protobuf.Struct; NULL: none.
    context           BLOB,
    create_time       BIGINT NOT NULL,
    -- Why no turn answered it: a stable word. NULL: it is pending, was answered, or was cancelled.
    set_aside         TEXT,
    -- The traceparent (W3C Trace Context) of the call that brought it; NULL: nobody traces it.
    trace             TEXT,
    -- Of what people said in the agent's place: the conversation to which it goes. NULL: the person said it.
    reply_to          TEXT,
    PRIMARY KEY (instance, channel_id, client_identifier, seq)
);

-- All deliveries of one conversation to one endpoint, in order. Pending if and only if settled_seq < last_seq. Parked if and only if
-- next_time is the largest number there is: the delivery behind settled_seq is dead then, and what follows it waits for somebody.
CREATE TABLE lane (
    instance       TEXT   NOT NULL,
    endpoint_id    TEXT   NOT NULL,
    interaction_id TEXT   NOT NULL,
    last_seq       BIGINT NOT NULL,
    settled_seq    BIGINT NOT NULL,
    epoch          BIGINT NOT NULL,
    lease_until    BIGINT NOT NULL,
    next_time      BIGINT NOT NULL,
    -- The newest of its deliveries. 0: it never had any.
    last_entry     BIGINT NOT NULL,
    PRIMARY KEY (instance, endpoint_id, interaction_id)
) WITHOUT ROWID;
-- The endpoint comes first, so that a full endpoint is stepped over without reading its lanes.
CREATE INDEX lane_pending ON lane (endpoint_id, next_time) WHERE settled_seq < last_seq;

-- An index of all deliveries by their lanes would be written at as many places as there are conversations. So each names the one before
-- it in its lane, which is read from its newest delivery back; and those that are looked for by their number are pending.
CREATE TABLE delivery (
    -- Rises with time.
    entry          INTEGER PRIMARY KEY,
    -- The delivery before it in its lane, which is deleted first. 0: there was none.
    previous_entry BIGINT NOT NULL,
    instance       TEXT   NOT NULL,
    endpoint_id    TEXT   NOT NULL,
    interaction_id TEXT   NOT NULL,
    sequence       BIGINT NOT NULL,
    id             TEXT   NOT NULL,
    contact_id     TEXT   NOT NULL,
    body           BLOB   NOT NULL,
    state          TEXT   NOT NULL,
    attempt_count  BIGINT NOT NULL,
    -- JSON list; NULL: none yet.
    attempts       TEXT,
    create_time    BIGINT NOT NULL,
    settle_time    BIGINT,
    -- The traceparent of the turn that made it; NULL: nobody traces it.
    trace          TEXT
);
CREATE UNIQUE INDEX delivery_pending ON delivery (instance, endpoint_id, interaction_id, sequence) WHERE state = 'PENDING';
CREATE UNIQUE INDEX delivery_by_id ON delivery (instance, id);
-- Deliveries that are dead, of one endpoint and of all. An index of a rare state costs the others only the look at their state.
CREATE INDEX delivery_dead ON delivery (instance, endpoint_id, id) WHERE state = 'DEAD';
CREATE INDEX delivery_dead_by_id ON delivery (instance, id) WHERE state = 'DEAD';

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

-- Who was erased, without saying who. See package erasure.
CREATE TABLE erasure (
    instance    TEXT    NOT NULL,
    person      TEXT    NOT NULL, -- a keyed hash
    cut_time    INTEGER NOT NULL, -- what was accepted up to then is erased
    counts      TEXT    NOT NULL, -- a JSON object: how many of which kind
    finish_time INTEGER,          -- NULL until all of it was deleted
    scrub_time  INTEGER,          -- NULL while something may be left of it in the files; 0 when there was nothing
    PRIMARY KEY (instance, person, cut_time)
) WITHOUT ROWID;

CREATE INDEX erasure_by_time ON erasure (instance, cut_time, person);

-- Who does a work that only one process may do. The instance is empty: such work is for all of them.
CREATE TABLE worker_lease (
    instance    TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    holder      TEXT    NOT NULL,
    epoch       INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    PRIMARY KEY (instance, name)
) WITHOUT ROWID;

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
