package store

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// sqliteIndex finds texts by FTS5 with trigrams. The rows of an instance have numbers of one range, see the migration.
type sqliteIndex struct{}

const (
	conversationBits = 26
	turnBits         = 17
	// maxIndexedTurn is the last turn of a conversation that has a number in the index.
	maxIndexedTurn = 1<<turnBits - 1
)

const (
	readMark = `SELECT k.last_row, k.last_row = 0 OR coalesce(t.id = k.turn_id, FALSE) FROM search_mark k LEFT JOIN turn t ON t.rowid = k.last_row`

	readBehindMark = `
SELECT t.rowid, t.id, t.instance, t.conversation_id, t.number, t.answer, t.record, coalesce(c.identifier, '')
FROM turn t LEFT JOIN conversation c ON c.instance = t.instance AND c.id = t.conversation_id
WHERE t.rowid > $1 ORDER BY t.rowid LIMIT $2`

	readStanding = `SELECT rowid, id FROM turn WHERE rowid > $1 AND rowid <= $2`

	setMark = `UPDATE search_mark SET last_row = $1, turn_id = $2 WHERE last_row = $3`

	findNumber = `SELECT number FROM search_conversation WHERE instance = $1 AND conversation_id = $2`

	numberInstance = `
INSERT INTO search_instance (instance) VALUES ($1) ON CONFLICT (instance) DO UPDATE SET instance = excluded.instance RETURNING number`

	numberConversation = `
INSERT INTO search_conversation (number, instance, conversation_id)
SELECT coalesce(max(number), $3) + 1, $1, $2 FROM search_conversation WHERE number BETWEEN $3 AND $4 RETURNING number`
)

var insertWords = newBulk(`INSERT OR REPLACE INTO search_text (rowid, text, grams) VALUES `, 3, ``)

// sqliteTurn is a turn on its way into the index.
type sqliteTurn struct {
	row                                    int64
	id, instance, conversation, identifier string
	number                                 int64
	words                                  string
}

func (i sqliteIndex) indexTurns(ctx context.Context, db *sqldb.DB, limit int, words Words) (int, error) {
	var mark int64
	var stands bool
	if err := db.Reader().QueryRowContext(ctx, readMark).Scan(&mark, &stands); err != nil {
		return 0, err
	}
	if !stands {
		if err := db.Write(ctx, stepBack); err != nil {
			return 0, err
		}
		return 0, nil
	}
	turns, err := i.read(ctx, db, mark, limit, words)
	if err != nil || len(turns) == 0 {
		return 0, err
	}
	last := turns[len(turns)-1]
	err = db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		moved, err := tx.ExecContext(ctx, setMark, last.row, last.id, mark)
		if err != nil {
			return err
		}
		if n, err := moved.RowsAffected(); err != nil || n == 0 {
			return err // somebody else was here
		}
		standing, err := i.standing(ctx, tx, mark, last.row)
		if err != nil {
			return err
		}
		return i.write(ctx, tx, turns, standing, words)
	})
	if err != nil {
		return 0, err
	}
	return len(turns), nil
}

// read gives turns behind the mark with their words, outside of the one writer's time.
func (sqliteIndex) read(ctx context.Context, db *sqldb.DB, mark int64, limit int, words Words) ([]sqliteTurn, error) {
	rows, err := db.Reader().QueryContext(ctx, readBehindMark, mark, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var turns []sqliteTurn
	size := 0
	for size < maxIndexing && rows.Next() {
		var t sqliteTurn
		var said Said
		if err := rows.Scan(&t.row, &t.id, &t.instance, &t.conversation, &t.number, &said.Answer, &said.Record, &t.identifier); err != nil {
			return nil, err
		}
		t.words = words.Turn(said.Answer, said.Record)
		size += len(t.words)
		turns = append(turns, t)
	}
	return turns, rows.Err()
}

// standing are the turns that are still there, by row: one that was erased since it was read must not come back by the index.
func (sqliteIndex) standing(ctx context.Context, tx sqldb.Tx, after, upTo int64) (map[int64]string, error) {
	rows, err := tx.QueryContext(ctx, readStanding, after, upTo)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	standing := make(map[int64]string)
	for rows.Next() {
		var row int64
		var id string
		if err := rows.Scan(&row, &id); err != nil {
			return nil, err
		}
		standing[row] = id
	}
	return standing, rows.Err()
}

// sqliteWords is a row of the index.
type sqliteWords struct {
	row            int64
	instance, text string
}

func (i sqliteIndex) write(ctx context.Context, tx sqldb.Tx, turns []sqliteTurn, standing map[int64]string, words Words) error {
	numbers := make(map[[2]string]int64)
	rows := make([]sqliteWords, 0, len(turns))
	for k := range turns {
		t := &turns[k]
		if standing[t.row] != t.id {
			continue
		}
		conversation := [2]string{t.instance, t.conversation}
		number, known := numbers[conversation]
		if !known {
			var isNew bool
			var err error
			if number, isNew, err = i.number(ctx, tx, t.instance, t.conversation); err != nil {
				return err
			}
			numbers[conversation] = number
			// A conversation may have a number before the turn that opened it: for its metadata, or because the API made it.
			if isNew || t.number == 1 {
				head := words.Head(t.conversation, t.identifier)
				if _, err := tx.ExecContext(ctx, listOpened, t.instance, t.conversation, head); err != nil {
					return err
				}
				rows = append(rows, sqliteWords{number << turnBits, t.instance, head})
				if !isNew {
					if err := takeOut(ctx, tx, number<<turnBits); err != nil {
						return err
					}
				}
			}
		}
		if t.words != "" && t.number <= maxIndexedTurn {
			rows = append(rows, sqliteWords{number<<turnBits | t.number, t.instance, t.words})
		}
	}
	return i.put(ctx, tx, rows...)
}

const (
	eraseRow    = `DELETE FROM search_text WHERE rowid = $1`
	flushErased = `INSERT INTO search_text (search_text) VALUES ('flush')`
)

// takeOut takes a row out of the index, if it is there, before it is put with others: where FTS5 with detail = none and secure-delete
// finds a row replaced among the rows that it writes at once, it leaves out those behind it that have the same words (SQLite 3.53).
func takeOut(ctx context.Context, tx sqldb.Tx, row int64) error {
	erased, err := tx.ExecContext(ctx, eraseRow, row)
	if err != nil {
		return err
	}
	if n, err := erased.RowsAffected(); err != nil || n == 0 {
		return err
	}
	_, err = tx.ExecContext(ctx, flushErased)
	return err
}

// put writes rows of the index in their order: FTS5 gathers what it gets, and writes all it has whenever a row comes before the last one.
// A row that is there already may be put alone, or has to be taken out before.
func (sqliteIndex) put(ctx context.Context, tx sqldb.Tx, rows ...sqliteWords) error {
	slices.SortFunc(rows, func(a, b sqliteWords) int { return cmp.Compare(a.row, b.row) })
	args := make([]any, 0, insertWords.columns*len(rows))
	for _, r := range rows {
		args = append(args, r.row, r.text, words36(gramsOf(r.instance, ofText, r.text), " "))
	}
	_, err := insertWords.exec(ctx, tx, args)
	return err
}

// number finds the number of a conversation, or gives it one.
func (sqliteIndex) number(ctx context.Context, tx sqldb.Tx, instance, conversationID string) (number int64, isNew bool, err error) {
	err = tx.QueryRowContext(ctx, findNumber, instance, conversationID).Scan(&number)
	if err == nil || !sqldb.IsNoRows(err) {
		return number, false, err
	}
	var of int64
	if err := tx.QueryRowContext(ctx, numberInstance, instance).Scan(&of); err != nil {
		return 0, false, err
	}
	first := of << conversationBits
	err = tx.QueryRowContext(ctx, numberConversation, instance, conversationID, first, first|(1<<conversationBits-1)).Scan(&number)
	return number, true, err
}

const (
	readLastMark = `SELECT last_row FROM search_mark`

	readBefore = `
SELECT t.rowid, t.id, EXISTS (SELECT 1 FROM search_conversation k JOIN search_text s ON s.rowid = (k.number << 17 | t.number)
    WHERE k.instance = t.instance AND k.conversation_id = t.conversation_id)
FROM turn t WHERE t.rowid < $1 ORDER BY t.rowid DESC LIMIT 1`
)

// stepBack sets the mark back to a turn that is there and in the index. The last rows of turn were deleted, and SQLite gives their
// numbers to the next turns, which would never be in the index.
func stepBack(ctx context.Context, tx sqldb.Tx) error {
	var mark int64
	if err := tx.QueryRowContext(ctx, readLastMark).Scan(&mark); err != nil {
		return err
	}
	for before := mark; ; {
		var row int64
		var id string
		var indexed bool
		err := tx.QueryRowContext(ctx, readBefore, before).Scan(&row, &id, &indexed)
		if sqldb.IsNoRows(err) {
			_, err := tx.ExecContext(ctx, setMark, 0, "", mark)
			return err
		}
		if err != nil {
			return err
		}
		if indexed {
			_, err := tx.ExecContext(ctx, setMark, row, id, mark)
			return err
		}
		before = row
	}
}

func (i sqliteIndex) addHead(ctx context.Context, tx sqldb.Tx, instance, conversationID, head string) error {
	number, _, err := i.number(ctx, tx, instance, conversationID)
	if err != nil {
		return err
	}
	return i.put(ctx, tx, sqliteWords{number << turnBits, instance, head})
}

const (
	replaceMetadata = `INSERT OR REPLACE INTO search_metadata (rowid, text, grams) VALUES ($1, $2, $3)`

	eraseText     = `DELETE FROM search_text WHERE rowid BETWEEN $1 AND $2`
	eraseMetadata = `DELETE FROM search_metadata WHERE rowid = $1`
	eraseNumber   = `DELETE FROM search_conversation WHERE number = $1`
	findNumbers   = `SELECT number FROM search_conversation WHERE instance = $1 AND conversation_id` + sqliteList
)

func (i sqliteIndex) setMetadata(ctx context.Context, tx sqldb.Tx, instance, conversationID, words string) error {
	number, _, err := i.number(ctx, tx, instance, conversationID)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, replaceMetadata, number, words, words36(gramsOf(instance, ofMetadata, words), " "))
	return err
}

// clearAtOnce is how many rows of the index are taken out in one transaction. Each costs a millisecond or two: it is looked for under each
// of its trigrams.
const clearAtOnce = 10

const findLastRows = `SELECT rowid FROM search_text WHERE rowid BETWEEN $1 AND $2 ORDER BY rowid DESC LIMIT 1 OFFSET $3`

// clear leaves a few rows, in transactions of a few rows each.
func (i sqliteIndex) clear(ctx context.Context, db *sqldb.DB, instance, conversationID string) error {
	for {
		var number int64
		err := db.Reader().QueryRowContext(ctx, findNumber, instance, conversationID).Scan(&number)
		if sqldb.IsNoRows(err) {
			return nil
		}
		if err != nil {
			return err
		}
		first, last := number<<turnBits, (number+1)<<turnBits-1
		var from int64
		err = db.Reader().QueryRowContext(ctx, findLastRows, first, last, clearAtOnce-1).Scan(&from)
		if sqldb.IsNoRows(err) {
			return nil
		}
		if err != nil {
			return err
		}
		err = db.Erase(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			_, err := tx.ExecContext(ctx, eraseText, from, last)
			return err
		})
		if err != nil {
			return err
		}
	}
}

func (sqliteIndex) erase(ctx context.Context, tx sqldb.Tx, instance, list string) error {
	numbers, err := readNumbers(ctx, tx, instance, list)
	if err != nil {
		return err
	}
	for _, number := range numbers {
		if _, err := tx.ExecContext(ctx, eraseText, number<<turnBits, (number+1)<<turnBits-1); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, eraseMetadata, number); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, eraseNumber, number); err != nil {
			return err
		}
	}
	return nil
}

func readNumbers(ctx context.Context, tx sqldb.Tx, instance, list string) ([]int64, error) {
	rows, err := tx.QueryContext(ctx, findNumbers, instance, list)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var numbers []int64
	for rows.Next() {
		var number int64
		if err := rows.Scan(&number); err != nil {
			return nil, err
		}
		numbers = append(numbers, number)
	}
	return numbers, rows.Err()
}

// maxSQLiteGrams is how many of a query's trigrams are looked up. To look a frequent one up costs more than to look through a few texts.
const maxSQLiteGrams = 4

// words36 are hashes as words that FTS5 takes as they are.
func words36(hashes []uint32, between string) string {
	var list strings.Builder
	for i, hash := range hashes {
		if i > 0 {
			list.WriteString(between)
		}
		list.WriteString(strconv.FormatUint(uint64(hash), 36))
	}
	return list.String()
}

// The rows of the instance $1 in both tables of the index; one without conversations has no range.
const (
	textOfInstance = ` BETWEEN (SELECT number << 43 FROM search_instance WHERE instance = $1)
        AND (SELECT (number << 43) + 8796093022207 FROM search_instance WHERE instance = $1)`
	metadataOfInstance = ` BETWEEN (SELECT number << 26 FROM search_instance WHERE instance = $1)
        AND (SELECT (number << 26) + 67108863 FROM search_instance WHERE instance = $1)`
)

func (i sqliteIndex) foundText(q *conversationQuery, text string) string {
	return `SELECT k.conversation_id AS id FROM (
        SELECT DISTINCT rowid >> 17 AS number FROM search_text
        WHERE search_text MATCH ` + q.arg(words36(queryGrams(q.instance(), ofText, text, maxSQLiteGrams), " AND ")) + ` AND rowid` + textOfInstance + ` AND ` + i.contains("text", q.arg(text)) + `
    ) AS d JOIN search_conversation k ON k.number = d.number`
}

func (i sqliteIndex) foundMetadata(q *conversationQuery, text string) string {
	matches := i.contains("text", q.arg(text))
	if hasTrigram(text) {
		matches += ` AND search_metadata MATCH ` + q.arg(words36(queryGrams(q.instance(), ofMetadata, text, maxSQLiteGrams), " AND "))
	}
	return `SELECT k.conversation_id AS id FROM (
        SELECT rowid AS number FROM search_metadata WHERE ` + matches + ` AND rowid` + metadataOfInstance + `
    ) AS d JOIN search_conversation k ON k.number = d.number`
}

func (sqliteIndex) contains(column, text string) string {
	return `instr(` + column + `, ` + text + `) > 0`
}

func (sqliteIndex) fresh() string {
	return `SELECT DISTINCT t.conversation_id FROM search_mark k JOIN turn t ON t.rowid > k.last_row AND t.rowid <= k.last_row + $2
WHERE t.instance = $1`
}

func (sqliteIndex) unindexed() string {
	return `SELECT t.conversation_id, c.identifier, c.agent_id, c.source, t.answer, t.record
FROM search_mark k JOIN turn t ON t.rowid > k.last_row AND t.rowid <= k.last_row + $2
JOIN conversation c ON c.instance = t.instance AND c.id = t.conversation_id
WHERE t.instance = $1`
}

// oldest looks at the first only: rows are in the order of their commits.
func (sqliteIndex) oldest() string {
	return `SELECT min(create_time) FROM (SELECT t.create_time FROM turn t WHERE t.rowid > (SELECT last_row FROM search_mark)
    ORDER BY t.rowid LIMIT min($1, 1)) AS t`
}
