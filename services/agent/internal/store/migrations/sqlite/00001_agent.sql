-- +goose Up

-- The last number given to an agent of the instance. It only grows, so that a number is never used again.
CREATE TABLE agent_number (
    instance TEXT NOT NULL,
    last_number BIGINT NOT NULL,
    PRIMARY KEY (instance)
) WITHOUT ROWID;

-- An agent. Empty display_name and description mean those of the newest definition, which stand beside them so that a list reads
-- no definition. A deleted agent keeps its row, for its conversations are kept.
CREATE TABLE agent (
    instance TEXT NOT NULL,
    id TEXT NOT NULL,
    assistant_id BIGINT NOT NULL,
    display_name TEXT NOT NULL,
    description TEXT NOT NULL,
    definition_display_name TEXT NOT NULL,
    definition_description TEXT NOT NULL,
    version BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    delete_time BIGINT,
    PRIMARY KEY (instance, id)
);

CREATE UNIQUE INDEX agent_assistant_id ON agent (instance, assistant_id);

-- Every definition ever published: as it was sent (YAML text or a JSON object), and as the parsed prosa.agent.v1.AgentDefinition,
-- so that a running version needs no parser that may have become stricter since.
CREATE TABLE agent_version (
    instance TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    source_format TEXT NOT NULL CHECK (source_format IN ('YAML', 'JSON')),
    source BLOB NOT NULL,
    definition BLOB NOT NULL,
    create_time BIGINT NOT NULL,
    PRIMARY KEY (instance, agent_id, version)
);

-- A conversation; its id is also its attendance's. last_turn counts what is committed: a turn that was computed on an older count, or
-- under an older epoch, is refused. last_turn_id is where the chain of its turns begins, and messages is how many are in them.
CREATE TABLE conversation (
    instance TEXT NOT NULL,
    id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    agent_version BIGINT NOT NULL,
    endpoint_id TEXT NOT NULL,
    identifier TEXT NOT NULL,
    source TEXT NOT NULL,
    attendance_id BIGINT NOT NULL,
    contact_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('OPEN', 'FINISHED')),
    epoch BIGINT NOT NULL,
    last_turn BIGINT NOT NULL,
    last_turn_id TEXT NOT NULL,
    messages BIGINT NOT NULL,
    flow_state BLOB NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    finish_time BIGINT,
    PRIMARY KEY (instance, id)
);

-- One open conversation a person and endpoint.
CREATE UNIQUE INDEX conversation_open ON conversation (instance, agent_id, endpoint_id, identifier) WHERE state = 'OPEN';

-- The open conversations by their beginning, to find those in which nothing happens any more. It is written when a conversation opens
-- and when it ends, and by no turn in between.
CREATE INDEX conversation_open_since ON conversation (instance, create_time, id) WHERE state = 'OPEN';

-- A finished turn under the id of its message. answer is the serialized RunTurnResponse that every repetition gets; record is the
-- prosa.contacts.v1.TurnRecord without what the answer or the row says, so that no word is stored twice. previous_id is the turn
-- before, empty at the first: a conversation is read along this chain, for an index by conversations would have every turn write a
-- page of its own.
CREATE TABLE turn (
    instance TEXT NOT NULL,
    id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    previous_id TEXT NOT NULL,
    answer BLOB NOT NULL,
    record BLOB NOT NULL,
    create_time BIGINT NOT NULL,
    PRIMARY KEY (instance, id)
);

-- The turns that contacts does not have yet. A row is deleted once contacts has its turn. An empty turn_id is the end of a
-- conversation in which nothing happened any more: no turn tells of it.
CREATE TABLE pending_record (
    instance TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    turn_number BIGINT NOT NULL,
    turn_id TEXT NOT NULL,
    tries BIGINT NOT NULL DEFAULT 0,
    retry_time BIGINT,
    PRIMARY KEY (instance, conversation_id, turn_number)
) WITHOUT ROWID;

-- The turns that contacts refused for good, for whoever looks into it.
CREATE TABLE refused_record (
    instance TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    turn_number BIGINT NOT NULL,
    turn_id TEXT NOT NULL,
    code TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    PRIMARY KEY (instance, conversation_id, turn_number)
) WITHOUT ROWID;

-- Who does a work that only one process may do. The instance is empty: such work is for all of them.
CREATE TABLE worker_lease (
    instance TEXT NOT NULL,
    name TEXT NOT NULL,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expire_time BIGINT NOT NULL,
    PRIMARY KEY (instance, name)
) WITHOUT ROWID;

-- The answers of calls that came with an idempotency key, for 24 hours.
CREATE TABLE idempotency (
    instance TEXT NOT NULL,
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    response BLOB,
    expire_time BIGINT NOT NULL,
    PRIMARY KEY (instance, scope, key)
) WITHOUT ROWID;

CREATE INDEX idempotency_expire_time ON idempotency (expire_time);

-- +goose Down
DROP TABLE idempotency;
DROP TABLE worker_lease;
DROP TABLE refused_record;
DROP TABLE pending_record;
DROP TABLE turn;
DROP TABLE conversation;
DROP TABLE agent_version;
DROP TABLE agent;
DROP TABLE agent_number;
