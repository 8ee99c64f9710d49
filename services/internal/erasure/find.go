package erasure

import (
	"context"
	"slices"
)

// Identifiers lists the identifiers of an instance's persons, some at a time: those behind a cursor of its own, "" at the beginning, and
// the cursor behind them, "" at the end. An identifier may come more than once.
type Identifiers func(ctx context.Context, instance, cursor string) (page []string, next string, err error)

// Find calls found for each person of a store whom one of the records is about: the store is an older copy, which still has them. It
// reads every identifier of the instances of the records.
func Find(ctx context.Context, h *Hasher, records []Record, list Identifiers, found func(ctx context.Context, r Record, identifier string) error) error {
	wanted := make(map[string]map[string]Record)
	var instances []string
	for _, r := range records {
		if wanted[r.Instance] == nil {
			wanted[r.Instance] = make(map[string]Record)
			instances = append(instances, r.Instance)
		}
		if other, ok := wanted[r.Instance][r.Person]; !ok || other.Cut.Before(r.Cut) {
			wanted[r.Instance][r.Person] = r
		}
	}
	slices.Sort(instances)
	for _, instance := range instances {
		for cursor, begun := "", false; cursor != "" || !begun; begun = true {
			page, next, err := list(ctx, instance, cursor)
			if err != nil {
				return err
			}
			for _, identifier := range page {
				person := h.Person(instance, identifier)
				r, ok := wanted[instance][person]
				if !ok {
					continue
				}
				delete(wanted[instance], person)
				if err := found(ctx, r, identifier); err != nil {
					return err
				}
			}
			cursor = next
		}
	}
	return nil
}
