-- +goose Up

-- What is said in conversations, and the values of their metadata, without case and accents, by trigrams. The two engines do this each in
-- its own way.

-- The number of an instance in the index.
CREATE TABLE search_instance (
    number INTEGER PRIMARY KEY,
    instance TEXT NOT NULL UNIQUE
);

-- The number of a conversation in the index: that of its instance, shifted by 26 bits, and one more than the last.
CREATE TABLE search_conversation (
    number INTEGER PRIMARY KEY,
    instance TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    UNIQUE (instance, conversation_id)
);

-- A row is a turn: its rowid is the number of its conversation, shifted by 17 bits, and its own number; 0 is the conversation itself.
-- grams are hashes of the trigrams of text together with the instance, so that a search in one instance finds no entries of the others.
-- The index says in which rows a trigram is, and not where, which makes it small: what has all of a query's is looked through for it.
CREATE VIRTUAL TABLE search_text USING fts5(text UNINDEXED, grams, tokenize = 'ascii', detail = none, columnsize = 0);

-- A row is the values of a conversation's metadata; its rowid is the number of the conversation.
CREATE VIRTUAL TABLE search_metadata USING fts5(text UNINDEXED, grams, tokenize = 'ascii', detail = none, columnsize = 0);

-- What is deleted leaves nothing behind in the index.
INSERT INTO search_text (search_text, rank) VALUES ('secure-delete', 1);
INSERT INTO search_metadata (search_metadata, rank) VALUES ('secure-delete', 1);

-- Up to which row of turn all turns are in the index, and the id of that row's turn.
CREATE TABLE search_mark (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    last_row BIGINT NOT NULL,
    turn_id TEXT NOT NULL
);

INSERT INTO search_mark (one, last_row, turn_id) VALUES (1, 0, '');

-- +goose Down
DROP TABLE search_mark;
DROP TABLE search_metadata;
DROP TABLE search_text;
DROP TABLE search_conversation;
DROP TABLE search_instance;
