-- +goose Up

-- The numbers that are given in order within an instance, and how many things have one.
CREATE TABLE counter (
    instance TEXT COLLATE "C" NOT NULL,
    name     TEXT COLLATE "C" NOT NULL, -- attendance, event, event_type
    value    BIGINT NOT NULL, -- the last number given
    live     BIGINT NOT NULL, -- how many exist; whoever deletes one takes it away here in the same transaction
    PRIMARY KEY (instance, name)
);

CREATE TABLE contact (
    instance    TEXT COLLATE "C" NOT NULL,
    id          TEXT COLLATE "C" NOT NULL,
    identifier  TEXT COLLATE "C" NOT NULL,
    create_time BIGINT NOT NULL,
    PRIMARY KEY (instance, id),
    UNIQUE (instance, identifier)
);

CREATE TABLE contact_attribute (
    instance   TEXT COLLATE "C" NOT NULL,
    contact_id TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    value      TEXT NOT NULL,
    lookup     TEXT COLLATE "C", -- the form by which it is found; NULL when it is not looked for
    PRIMARY KEY (instance, contact_id, name)
);

CREATE INDEX contact_attribute_by_lookup ON contact_attribute (instance, name, lookup, contact_id) WHERE lookup IS NOT NULL;

CREATE TABLE attendance (
    instance       TEXT COLLATE "C" NOT NULL,
    id             BIGINT NOT NULL,
    interaction_id TEXT COLLATE "C" NOT NULL,
    contact_id     TEXT COLLATE "C" NOT NULL,
    identifier     TEXT COLLATE "C" NOT NULL,
    assistant_id   BIGINT NOT NULL,
    source         TEXT COLLATE "C" NOT NULL,
    external_id    TEXT COLLATE "C",
    request_id     TEXT COLLATE "C", -- what opened it; NULL when it came otherwise
    create_time    BIGINT NOT NULL,
    PRIMARY KEY (instance, id),
    UNIQUE (instance, request_id)
);

-- Each of these gives one filter's attendances in the order of the answer, and has what the other filters ask so that counting
-- them reads nothing else.
CREATE INDEX attendance_by_contact ON attendance (instance, contact_id, id);
CREATE UNIQUE INDEX attendance_by_external ON attendance (instance, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX attendance_by_assistant ON attendance (instance, assistant_id, id, create_time, source);
CREATE INDEX attendance_by_source ON attendance (instance, source, id, create_time);
CREATE INDEX attendance_by_time ON attendance (instance, create_time, id, assistant_id, source);

-- How far each attendance is: what every turn changes. It stands apart from attendance because a new version of a row is written
-- each time: these rows are small, and in no index but their key.
CREATE TABLE progress (
    instance      TEXT COLLATE "C" NOT NULL,
    attendance_id BIGINT NOT NULL,
    interactions  BIGINT NOT NULL,
    history_bytes BIGINT NOT NULL, -- the length of all items of its turns
    finish_time   BIGINT,
    PRIMARY KEY (instance, attendance_id)
);

-- What was said in a turn. A row is there for a turn in which nothing was said, too: it is how a repetition is known. The order of
-- an attendance's turns is that of their coming, seq.
CREATE TABLE turn (
    seq           BIGINT GENERATED ALWAYS AS IDENTITY,
    instance      TEXT COLLATE "C" NOT NULL,
    turn_id       TEXT COLLATE "C" NOT NULL,
    attendance_id BIGINT NOT NULL,
    items         BYTEA  NOT NULL, -- prosa.contacts.v1.Attendance with nothing but history
    PRIMARY KEY (instance, turn_id)
);

CREATE INDEX turn_by_attendance ON turn (instance, attendance_id, seq);

CREATE TABLE event_type (
    instance TEXT COLLATE "C" NOT NULL,
    id       BIGINT NOT NULL,
    name     TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (instance, id),
    UNIQUE (instance, name)
);

CREATE TABLE event (
    instance      TEXT COLLATE "C" NOT NULL,
    id            BIGINT NOT NULL,
    attendance_id BIGINT NOT NULL,
    assistant_id  BIGINT NOT NULL,
    type_id       BIGINT NOT NULL,
    external_id   TEXT COLLATE "C",
    extra1        TEXT,
    extra2        TEXT,
    details       TEXT   NOT NULL, -- a JSON object
    time          BIGINT NOT NULL,
    PRIMARY KEY (instance, id)
);

-- As those of attendance: each gives one filter's events in the order of their numbers, and most have what is counted with it.
CREATE INDEX event_by_attendance ON event (instance, attendance_id, id);
CREATE INDEX event_by_type ON event (instance, type_id, id, time, assistant_id);
CREATE INDEX event_by_assistant ON event (instance, assistant_id, id, time);
CREATE INDEX event_by_time ON event (instance, time, id, assistant_id, type_id);
CREATE INDEX event_by_external ON event (instance, external_id, id) WHERE external_id IS NOT NULL;

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
