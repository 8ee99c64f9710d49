-- +goose Up

-- The numbers that are given in order within an instance, and how many things have one.
CREATE TABLE counter (
    instance TEXT    NOT NULL,
    name     TEXT    NOT NULL, -- attendance, event, event_type
    value    INTEGER NOT NULL, -- the last number given
    live     INTEGER NOT NULL, -- how many exist; whoever deletes one takes it away here in the same transaction
    PRIMARY KEY (instance, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE contact (
    instance    TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    identifier  TEXT    NOT NULL,
    create_time INTEGER NOT NULL,
    PRIMARY KEY (instance, id),
    UNIQUE (instance, identifier)
) STRICT, WITHOUT ROWID;

CREATE TABLE contact_attribute (
    instance   TEXT NOT NULL,
    contact_id TEXT NOT NULL,
    name       TEXT NOT NULL,
    value      TEXT NOT NULL,
    lookup     TEXT, -- the form by which it is found; NULL when it is not looked for
    PRIMARY KEY (instance, contact_id, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX contact_attribute_by_lookup ON contact_attribute (instance, name, lookup, contact_id) WHERE lookup IS NOT NULL;

CREATE TABLE attendance (
    instance       TEXT    NOT NULL,
    id             INTEGER NOT NULL,
    interaction_id TEXT    NOT NULL,
    contact_id     TEXT    NOT NULL,
    identifier     TEXT    NOT NULL,
    assistant_id   INTEGER NOT NULL,
    source         TEXT    NOT NULL,
    external_id    TEXT,
    request_id     TEXT, -- what opened it; NULL when it came otherwise
    create_time    INTEGER NOT NULL,
    PRIMARY KEY (instance, id),
    UNIQUE (instance, request_id)
) STRICT, WITHOUT ROWID;

-- Each of these gives one filter's attendances in the order of the answer, and has what the other filters ask so that counting
-- them reads nothing else.
CREATE INDEX attendance_by_contact ON attendance (instance, contact_id, id);
CREATE UNIQUE INDEX attendance_by_external ON attendance (instance, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX attendance_by_assistant ON attendance (instance, assistant_id, id, create_time, source);
CREATE INDEX attendance_by_source ON attendance (instance, source, id, create_time);
CREATE INDEX attendance_by_time ON attendance (instance, create_time, id, assistant_id, source);

-- How far each attendance is: what every turn changes. It stands apart from attendance because a turn writes whole pages: of these
-- rows a page has several times as many.
CREATE TABLE progress (
    instance      TEXT    NOT NULL,
    attendance_id INTEGER NOT NULL,
    interactions  INTEGER NOT NULL,
    history_bytes INTEGER NOT NULL, -- the length of all items of its turns
    finish_time   INTEGER,
    last_turn     INTEGER, -- seq; NULL before the first
    PRIMARY KEY (instance, attendance_id)
) STRICT, WITHOUT ROWID;

-- What was said in a turn. A row is there for a turn in which nothing was said, too: it is how a repetition is known. The order of
-- an attendance's turns is that of their coming, seq.
-- They are found from progress.last_turn on, each by the one after it. Turns of many attendances come in turn, so an index by
-- attendance, or rows in that order, would have a page to write for nearly every turn; rows and ids as they are only grow at their
-- end. Whoever deletes turns deletes all of an attendance; numbers may be given again, so whoever follows last_turn or previous looks
-- whether instance and attendance_id are what they should be.
CREATE TABLE turn (
    seq           INTEGER PRIMARY KEY,
    instance      TEXT    NOT NULL,
    turn_id       TEXT    NOT NULL,
    attendance_id INTEGER NOT NULL,
    previous      INTEGER, -- seq of the attendance's turn before this one; NULL in its first
    items         BLOB    NOT NULL, -- prosa.contacts.v1.Attendance with nothing but history
    UNIQUE (instance, turn_id)
) STRICT;

CREATE TABLE event_type (
    instance TEXT    NOT NULL,
    id       INTEGER NOT NULL,
    name     TEXT    NOT NULL,
    PRIMARY KEY (instance, id),
    UNIQUE (instance, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    instance      TEXT    NOT NULL,
    id            INTEGER NOT NULL,
    attendance_id INTEGER NOT NULL,
    assistant_id  INTEGER NOT NULL,
    type_id       INTEGER NOT NULL,
    external_id   TEXT,
    extra1        TEXT,
    extra2        TEXT,
    details       TEXT    NOT NULL, -- a JSON object
    time          INTEGER NOT NULL,
    PRIMARY KEY (instance, id)
) STRICT, WITHOUT ROWID;

-- As those of attendance: each gives one filter's events in the order of their numbers, and most have what is counted with it.
CREATE INDEX event_by_attendance ON event (instance, attendance_id, id);
CREATE INDEX event_by_type ON event (instance, type_id, id, time, assistant_id);
CREATE INDEX event_by_assistant ON event (instance, assistant_id, id, time);
CREATE INDEX event_by_time ON event (instance, time, id, assistant_id, type_id);
CREATE INDEX event_by_external ON event (instance, external_id, id) WHERE external_id IS NOT NULL;

-- Who was erased, without saying who. See package erasure.
CREATE TABLE erasure (
    instance    TEXT    NOT NULL,
    person      TEXT    NOT NULL, -- a keyed hash
    cut_time    INTEGER NOT NULL, -- what was accepted up to then is erased
    counts      TEXT    NOT NULL, -- a JSON object: how many of which kind
    finish_time INTEGER,          -- NULL until all of it was deleted
    scrub_time  INTEGER,          -- NULL while something may be left of it in the files; 0 when there was nothing
    PRIMARY KEY (instance, person, cut_time)
) STRICT, WITHOUT ROWID;

CREATE INDEX erasure_by_time ON erasure (instance, cut_time, person);

-- Who does a work that only one process may do. The instance is empty: such work is for all of them.
CREATE TABLE worker_lease (
    instance    TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    holder      TEXT    NOT NULL,
    epoch       INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    PRIMARY KEY (instance, name)
) STRICT, WITHOUT ROWID;
