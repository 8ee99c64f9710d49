package idempotency

import (
	"context"
	"fmt"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// forgetBatch is how many rows one step of Forget looks at.
const forgetBatch = 1000

// idLength is how many hexadecimal digits identifiers have.
const idLength = 24

const (
	readResponses = `SELECT scope, key, response FROM idempotency
WHERE instance = $1 AND (scope, key) > ($2, $3) ORDER BY scope, key LIMIT $4`

	forget = `DELETE FROM idempotency WHERE instance = $1 AND scope = $2 AND key = $3`
)

// Forget deletes the records of an instance in whose responses one of the given identifiers stands: they are about somebody who is
// erased. It looks at all records of the instance, which are those of a day. What is sealed is not read: nothing about persons is.
func Forget(ctx context.Context, db *sqldb.DB, instance string, about func(id string) bool) (deleted int64, err error) {
	for scope, key := "", ""; ; {
		page, err := responses(ctx, db, instance, scope, key)
		if err != nil {
			return deleted, err
		}
		var gone []response
		for _, r := range page {
			scope, key = r.scope, r.key
			if mentions(r.body, about) {
				gone = append(gone, r)
			}
		}
		if len(gone) > 0 {
			err := db.Erase(ctx, func(ctx context.Context, tx sqldb.Tx) error {
				for _, r := range gone {
					if _, err := tx.ExecContext(ctx, forget, instance, r.scope, r.key); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return deleted, fmt.Errorf("forget idempotency keys: %w", err)
			}
			deleted += int64(len(gone))
		}
		if len(page) < forgetBatch {
			return deleted, nil
		}
	}
}

// response is a record with what was answered.
type response struct {
	scope, key string
	body       []byte
}

func responses(ctx context.Context, db *sqldb.DB, instance, scope, key string) ([]response, error) {
	rows, err := db.Reader().QueryContext(ctx, readResponses, instance, scope, key, forgetBatch)
	if err != nil {
		return nil, fmt.Errorf("read idempotency keys: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	var page []response
	for rows.Next() {
		var r response
		if err := rows.Scan(&r.scope, &r.key, &r.body); err != nil {
			return nil, fmt.Errorf("read idempotency keys: %w", err)
		}
		page = append(page, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read idempotency keys: %w", err)
	}
	return page, nil
}

// mentions reports whether one of the identifiers that stand in a text is meant.
func mentions(body []byte, about func(id string) bool) bool {
	digits := 0
	for i, c := range body {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'f' {
			digits++
		} else {
			digits = 0
		}
		if digits >= idLength && about(string(body[i+1-idLength:i+1])) {
			return true
		}
	}
	return false
}
