package erasure

import (
	"context"
	"time"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

// Erasures is the part of a service's store that knows its erasures, and its persons by their identifiers.
type Erasures interface {
	MissingErasures(ctx context.Context, records []Record) ([]Record, error)
	BeginErasure(ctx context.Context, r Record) error
	FinishErasure(ctx context.Context, r Record, now time.Time) error
	Identifiers(ctx context.Context, instance, cursor string) (page []string, next string, err error)
}

// Restorer erases again who came back with an older copy of a store.
type Restorer struct {
	Store    Erasures
	Hasher   *Hasher
	Scrubber *Scrubber
	Clock    clock.Clock
}

// RecordsOf are the records that a caller hands over.
func RecordsOf(told []*contactsv1.ErasureRecord) []Record {
	records := make([]Record, len(told))
	for n, record := range told {
		records[n] = Record{Instance: record.GetInstance(), Person: record.GetPerson(), Cut: record.GetCutTime().AsTime()}
	}
	return records
}

// Restore has erase called for each person whom one of the records is about and who is in the store nevertheless, and says how many
// these were. erase finishes the record. Nothing of anybody in the records comes in from the beginning on, found or not.
func (e *Restorer) Restore(
	ctx context.Context, records []Record, erase func(ctx context.Context, r Record, identifier string) error,
) (erased int64, err error) {
	missing, err := e.Store.MissingErasures(ctx, records)
	if err != nil || len(missing) == 0 {
		return 0, err
	}
	for _, r := range missing {
		if err := e.Store.BeginErasure(ctx, r); err != nil {
			return 0, err
		}
	}
	err = Find(ctx, e.Hasher, missing, e.Store.Identifiers, func(ctx context.Context, r Record, identifier string) error {
		erased++
		return erase(ctx, r, identifier)
	})
	if err != nil {
		return erased, err
	}
	if missing, err = e.Store.MissingErasures(ctx, missing); err != nil {
		return erased, err
	}
	for _, r := range missing { // of whom there was nothing
		r.Counts = map[string]int64{}
		if err := e.Store.FinishErasure(ctx, r, e.Clock.Now()); err != nil {
			return erased, err
		}
	}
	e.Scrubber.Scrub(ctx)
	return erased, nil
}
