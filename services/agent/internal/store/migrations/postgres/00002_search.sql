-- +goose Up

-- What is said in conversations, and the values of their metadata, without case and accents, by trigrams. The two engines do this each in
-- its own way.

-- A row is a turn under its number, or under 0 the values of the conversation's metadata. grams are hashes of the trigrams of text
-- together with the instance, so that a search in one instance finds no entries of the others. pg_trgm would leave out all that is no
-- letter or digit, and mix the instances.
CREATE TABLE search_text (
    instance TEXT COLLATE "C" NOT NULL,
    conversation_id TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    text TEXT NOT NULL,
    grams INTEGER[] NOT NULL,
    PRIMARY KEY (instance, conversation_id, number)
);

CREATE INDEX search_text_grams ON search_text USING gin (grams);

-- The turns that are not in the index yet. A row is put here by the statement that takes the turn's pending record out, so no turn
-- writes it.
CREATE TABLE search_pending (
    instance TEXT COLLATE "C" NOT NULL,
    conversation_id TEXT COLLATE "C" NOT NULL,
    turn_number BIGINT NOT NULL,
    turn_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (instance, conversation_id, turn_number)
);

-- +goose Down
DROP TABLE search_pending;
DROP TABLE search_text;
