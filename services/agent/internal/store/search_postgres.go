package store

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// postgresIndex finds texts by an inverted index of hashes of their trigrams.
type postgresIndex struct{}

// The rows of a conversation in the index that are not turns, by their numbers.
const (
	headNumber     = 0
	metadataNumber = -1
)

// maxPostgresGrams is how many of a query's trigrams are looked up; the text decides in the end. PostgreSQL begins with the rarest.
const maxPostgresGrams = 12

// array writes hashes as PostgreSQL writes an array of integers.
func array(hashes []uint32) string {
	var list strings.Builder
	list.WriteByte('{')
	for i, hash := range hashes {
		if i > 0 {
			list.WriteByte(',')
		}
		list.WriteString(strconv.FormatInt(int64(int32(hash)), 10))
	}
	list.WriteByte('}')
	return list.String()
}

// indexed is a row of the index, as JSON for the statement that stores many.
type indexed struct {
	Instance       string `json:"i"`
	ConversationID string `json:"c"`
	Number         int64  `json:"n"`
	Text           string `json:"t"`
	Grams          string `json:"g"`
}

func newIndexed(instance, conversationID string, number int64, text string) indexed {
	of := ofText
	if number == metadataNumber {
		of = ofMetadata
	}
	return indexed{instance, conversationID, number, text, array(gramsOf(instance, of, text))}
}

const (
	// claimPending takes turns that no other process is taking.
	claimPending = `
SELECT p.instance, p.conversation_id, p.turn_number, coalesce(t.answer, ''::bytea), coalesce(t.record, ''::bytea), coalesce(c.identifier, '')
FROM search_pending p
LEFT JOIN turn t ON t.instance = p.instance AND t.id = p.turn_id
LEFT JOIN conversation c ON c.instance = p.instance AND c.id = p.conversation_id
ORDER BY p.instance, p.conversation_id, p.turn_number LIMIT $1 FOR UPDATE OF p SKIP LOCKED`

	insertIndexed = `
INSERT INTO search_text (instance, conversation_id, number, text, grams)
SELECT d.i, d.c, d.n, d.t, d.g::integer[] FROM jsonb_to_recordset($1::jsonb) AS d (i text, c text, n bigint, t text, g text)
ON CONFLICT (instance, conversation_id, number) DO UPDATE SET text = excluded.text, grams = excluded.grams`

	listAllOpened = `
INSERT INTO chat_conversation (instance, id, agent_id, identifier, source, head, create_time)
SELECT c.instance, c.id, c.agent_id, c.identifier, c.source, d.t, c.create_time
FROM jsonb_to_recordset($1::jsonb) AS d (i text, c text, t text) JOIN conversation c ON c.instance = d.i AND c.id = d.c
ON CONFLICT (instance, id) DO NOTHING`

	deletePending = `
DELETE FROM search_pending p USING jsonb_to_recordset($1::jsonb) AS d (i text, c text, n bigint)
WHERE p.instance = d.i AND p.conversation_id = d.c AND p.turn_number = d.n`
)

// indexTurns does all in one transaction, which holds the marks of its turns: who erases a conversation deletes these before the words,
// and so waits for what is being put into the index, or keeps it out.
func (i postgresIndex) indexTurns(ctx context.Context, db *sqldb.DB, limit int, words Words) (n int, err error) {
	err = db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		taken, rows, opened, err := i.claim(ctx, tx, limit, words)
		n = len(taken)
		if err != nil || n == 0 {
			return err
		}
		for _, step := range []struct {
			statement string
			rows      []indexed
		}{{listAllOpened, opened}, {insertIndexed, append(rows, opened...)}, {deletePending, taken}} {
			if len(step.rows) == 0 {
				continue
			}
			list, err := json.Marshal(step.rows)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, step.statement, string(list)); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// claim gives the marks that it took, what their turns are found by, and the heads of the conversations that they opened. A mark without
// a turn is only taken: the turn was erased.
func (postgresIndex) claim(ctx context.Context, tx sqldb.Tx, limit int, words Words) (taken, rows, opened []indexed, err error) {
	found, err := tx.QueryContext(ctx, claimPending, limit)
	if err != nil {
		return nil, nil, nil, err
	}
	defer found.Close()
	for found.Next() {
		var mark indexed
		var said Said
		var identifier string
		if err := found.Scan(&mark.Instance, &mark.ConversationID, &mark.Number, &said.Answer, &said.Record, &identifier); err != nil {
			return nil, nil, nil, err
		}
		taken = append(taken, mark)
		if len(said.Answer) == 0 {
			continue
		}
		if text := words.Turn(said.Answer, said.Record); text != "" {
			rows = append(rows, newIndexed(mark.Instance, mark.ConversationID, mark.Number, text))
		}
		if mark.Number == 1 {
			opened = append(opened, newIndexed(mark.Instance, mark.ConversationID, headNumber, words.Head(mark.ConversationID, identifier)))
		}
	}
	return taken, rows, opened, found.Err()
}

func (postgresIndex) put(ctx context.Context, tx sqldb.Tx, row indexed) error {
	list, err := json.Marshal([]indexed{row})
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, insertIndexed, string(list))
	return err
}

func (i postgresIndex) addHead(ctx context.Context, tx sqldb.Tx, instance, conversationID, head string) error {
	return i.put(ctx, tx, newIndexed(instance, conversationID, headNumber, head))
}

func (i postgresIndex) setMetadata(ctx context.Context, tx sqldb.Tx, instance, conversationID, words string) error {
	return i.put(ctx, tx, newIndexed(instance, conversationID, metadataNumber, words))
}

// clear does nothing: to delete many rows is quick.
func (postgresIndex) clear(context.Context, *sqldb.DB, string, string) error { return nil }

const eraseIndexed = `DELETE FROM search_text WHERE instance = $1 AND conversation_id` + postgresList

func (postgresIndex) erase(ctx context.Context, tx sqldb.Tx, instance, list string) error {
	_, err := tx.ExecContext(ctx, eraseIndexed, instance, list)
	return err
}

// foundText looks the trigrams up, which name the instance too. The instance is compared in a form that leads to no other index, all of
// whose rows would be read.
func (i postgresIndex) foundText(q *conversationQuery, text string) string {
	grams := array(queryGrams(q.instance(), ofText, text, maxPostgresGrams))
	return `SELECT DISTINCT conversation_id AS id FROM search_text WHERE grams @> ` + q.arg(grams) +
		`::text::integer[] AND (instance || '') = $1 AND number >= 0 AND ` + i.contains("text", q.arg(text))
}

func (i postgresIndex) foundMetadata(q *conversationQuery, text string) string {
	if !hasTrigram(text) {
		return `SELECT n.conversation_id AS id FROM conversation_note n
        JOIN search_text s ON s.instance = $1 AND s.conversation_id = n.conversation_id AND s.number = -1
        WHERE n.instance = $1 AND ` + i.contains("s.text", q.arg(text))
	}
	grams := array(queryGrams(q.instance(), ofMetadata, text, maxPostgresGrams))
	return `SELECT conversation_id AS id FROM search_text WHERE grams @> ` + q.arg(grams) +
		`::text::integer[] AND (instance || '') = $1 AND number = -1 AND ` + i.contains("text", q.arg(text))
}

func (postgresIndex) contains(column, text string) string {
	return `strpos(` + column + `, ` + text + `) > 0`
}

// notIndexed are the conversations and turns of instance $1 that are not in the index: given to contacts, or not yet.
const notIndexed = `(
    (SELECT conversation_id, turn_id FROM search_pending WHERE instance = $1 LIMIT $2)
    UNION
    (SELECT conversation_id, turn_id FROM pending_record WHERE instance = $1 AND turn_id <> '' LIMIT $2)
) AS p`

func (postgresIndex) fresh() string { return `SELECT DISTINCT p.conversation_id FROM ` + notIndexed }

func (postgresIndex) unindexed() string {
	return `SELECT p.conversation_id, c.identifier, c.agent_id, c.source, t.answer, t.record FROM ` + notIndexed + `
JOIN turn t ON t.instance = $1 AND t.id = p.turn_id
JOIN conversation c ON c.instance = $1 AND c.id = p.conversation_id`
}

func (postgresIndex) oldest() string {
	return `SELECT min(t.create_time) FROM (SELECT instance, turn_id FROM search_pending LIMIT $1) AS p
JOIN turn t ON t.instance = p.instance AND t.id = p.turn_id`
}
