-- +goose Up

-- The last number given to an agent of the instance. It only grows, so that a number is never used again.
CREATE TABLE agent_number (
    instance TEXT COLLATE "C" NOT NULL,
    last_number BIGINT NOT NULL,
    PRIMARY KEY (instance)
);

-- An agent. Empty display_name and description mean those of the newest definition, which stand beside them so that a list reads
-- no definition. A deleted agent keeps its row, for its conversations are kept.
CREATE TABLE agent (
    instance TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
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
    instance TEXT COLLATE "C" NOT NULL,
    agent_id TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    source_format TEXT NOT NULL CHECK (source_format IN ('YAML', 'JSON')),
    source BYTEA NOT NULL,
    definition BYTEA NOT NULL,
    create_time BIGINT NOT NULL,
    PRIMARY KEY (instance, agent_id, version)
);

-- A conversation; its id is also its attendance's. last_turn counts what is committed: a turn that was computed on an older count, or
-- under an older epoch, is refused. last_turn_id is where the chain of its turns begins, and messages is how many are in them.
CREATE TABLE conversation (
    instance TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    agent_id TEXT COLLATE "C" NOT NULL,
    agent_version BIGINT NOT NULL,
    endpoint_id TEXT COLLATE "C" NOT NULL,
    identifier TEXT COLLATE "C" NOT NULL,
    source TEXT NOT NULL,
    attendance_id BIGINT NOT NULL,
    contact_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('OPEN', 'FINISHED')),
    epoch BIGINT NOT NULL,
    last_turn BIGINT NOT NULL,
    last_turn_id TEXT COLLATE "C" NOT NULL,
    messages BIGINT NOT NULL,
    flow_state BYTEA NOT NULL,
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

-- The conversation of an attendance, for what people do with it. It is written when a conversation opens, and never again.
CREATE INDEX conversation_attendance ON conversation (instance, attendance_id);

-- A finished turn under the id of its message. answer is the serialized RunTurnResponse that every repetition gets; record is the
-- prosa.contacts.v1.TurnRecord without what the answer or the row says, so that no word is stored twice. previous_id is the turn
-- before, empty at the first: a conversation is read along this chain, for an index by conversations would have every turn write a
-- page of its own.
CREATE TABLE turn (
    instance TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    conversation_id TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    previous_id TEXT COLLATE "C" NOT NULL,
    answer BYTEA NOT NULL,
    record BYTEA NOT NULL,
    create_time BIGINT NOT NULL,
    PRIMARY KEY (instance, id)
);

-- The turns that contacts does not have yet, in the order of turn_number. A row is deleted once contacts has its turn. An empty turn_id
-- is the end of a conversation in which nothing happened any more, or that people ended: no turn tells of it. What people said before
-- such an end, and was stored after it, comes behind it: its turn_number is one more than the turn's.
CREATE TABLE pending_record (
    instance TEXT COLLATE "C" NOT NULL,
    conversation_id TEXT COLLATE "C" NOT NULL,
    turn_number BIGINT NOT NULL,
    turn_id TEXT COLLATE "C" NOT NULL,
    tries BIGINT NOT NULL DEFAULT 0,
    retry_time BIGINT,
    PRIMARY KEY (instance, conversation_id, turn_number)
);

-- The turns that contacts refused for good, for whoever looks into it.
CREATE TABLE refused_record (
    instance TEXT COLLATE "C" NOT NULL,
    conversation_id TEXT COLLATE "C" NOT NULL,
    turn_number BIGINT NOT NULL,
    turn_id TEXT COLLATE "C" NOT NULL,
    code TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    PRIMARY KEY (instance, conversation_id, turn_number)
);

-- Who does a work that only one process may do. The instance is empty: such work is for all of them.
CREATE TABLE worker_lease (
    instance TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expire_time BIGINT NOT NULL,
    PRIMARY KEY (instance, name)
);

-- The answers of calls that came with an idempotency key, for 24 hours.
CREATE TABLE idempotency (
    instance TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA NOT NULL,
    response BYTEA,
    expire_time BIGINT NOT NULL,
    PRIMARY KEY (instance, scope, key)
);

CREATE INDEX idempotency_expire_time ON idempotency (expire_time);

-- The chat messages that were accepted and have no turn yet, in the order of number within a conversation. A row whose turn is
-- committed is done with, and deleted by and by. holder is the process that runs it, tries how often it was taken over from one that
-- died, stopped that another process wants it stopped, and failure why it has no turn and never will have one.
CREATE TABLE chat_turn (
    instance TEXT COLLATE "C" NOT NULL,
    conversation_id TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    agent_id TEXT COLLATE "C" NOT NULL,
    identifier TEXT COLLATE "C" NOT NULL,
    text BYTEA NOT NULL,
    accept_time BIGINT NOT NULL,
    holder TEXT COLLATE "C" NOT NULL,
    tries BIGINT NOT NULL,
    stopped BOOLEAN NOT NULL,
    failure TEXT NOT NULL,
    PRIMARY KEY (instance, conversation_id, number)
);

CREATE UNIQUE INDEX chat_turn_id ON chat_turn (instance, id);

-- A conversation as the conversation API lists it. One that the API made is here from its creation on, before anything is said in it.
-- All others come here behind their first turn, which writes nothing for it. head is the words that it is found by beside those of its
-- messages, without case and accents.
CREATE TABLE chat_conversation (
    instance TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    agent_id TEXT COLLATE "C" NOT NULL,
    identifier TEXT COLLATE "C" NOT NULL,
    source TEXT NOT NULL,
    head TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    PRIMARY KEY (instance, id)
);

CREATE INDEX chat_conversation_created ON chat_conversation (instance, create_time, id);

-- What was noted about a conversation: metadata is a serialized google.protobuf.Struct, survey is 0 until rated. Most have no row.
CREATE TABLE conversation_note (
    instance TEXT COLLATE "C" NOT NULL,
    conversation_id TEXT COLLATE "C" NOT NULL,
    metadata BYTEA NOT NULL,
    survey BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    PRIMARY KEY (instance, conversation_id)
);

-- What somebody thinks of an answer, which has its turn's id.
CREATE TABLE message_feedback (
    instance TEXT COLLATE "C" NOT NULL,
    conversation_id TEXT COLLATE "C" NOT NULL,
    turn_id TEXT COLLATE "C" NOT NULL,
    feedback TEXT NOT NULL,
    update_time BIGINT NOT NULL,
    PRIMARY KEY (instance, conversation_id, turn_id)
);

-- How many secrets an instance has. Whoever makes or deletes one updates the row first, so that two at once wait for each other.
CREATE TABLE secret_count (
    instance TEXT COLLATE "C" NOT NULL,
    secrets BIGINT NOT NULL,
    PRIMARY KEY (instance)
);

-- What agents need to call other systems. sealed is the value, encrypted for this instance and name.
CREATE TABLE secret (
    instance TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    sealed BYTEA NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    PRIMARY KEY (instance, name)
);

-- Who was erased, without saying who: person is a keyed hash. What was accepted up to cut_time is erased; counts is a JSON object that says
-- how many of which kind. finish_time is NULL until all of it was deleted, scrub_time while something may be left of it in the
-- files, and 0 when there was nothing.
CREATE TABLE erasure (
    instance TEXT COLLATE "C" NOT NULL,
    person TEXT COLLATE "C" NOT NULL,
    cut_time BIGINT NOT NULL,
    counts TEXT NOT NULL,
    finish_time BIGINT,
    scrub_time BIGINT,
    PRIMARY KEY (instance, person, cut_time)
);

CREATE INDEX erasure_by_time ON erasure (instance, cut_time, person);

-- +goose Down
DROP TABLE erasure;
DROP TABLE secret;
DROP TABLE secret_count;
DROP TABLE message_feedback;
DROP TABLE conversation_note;
DROP TABLE chat_conversation;
DROP TABLE chat_turn;
DROP TABLE idempotency;
DROP TABLE worker_lease;
DROP TABLE refused_record;
DROP TABLE pending_record;
DROP TABLE turn;
DROP TABLE conversation;
DROP TABLE agent_version;
DROP TABLE agent;
DROP TABLE agent_number;
