package sqldb

import (
	"database/sql"
	"time"
)

// Micros is a moment as it is stored: Unix microseconds. What is finer is cut off, on both engines alike.
func Micros(t time.Time) int64 { return t.UnixMicro() }

// Time is the moment, in UTC, that Micros stored.
func Time(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// NullMicros is Micros, with NULL for the zero time.
func NullMicros(t time.Time) sql.NullInt64 {
	if t.IsZero() {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: true}
}

// NullTime is the moment that NullMicros stored, with the zero time for NULL.
func NullTime(micros sql.NullInt64) time.Time {
	if !micros.Valid {
		return time.Time{}
	}
	return Time(micros.Int64)
}
