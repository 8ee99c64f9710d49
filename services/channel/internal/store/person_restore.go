package store

import (
	"context"
	"fmt"
	"strings"
)

// restoreLook is how many threads or deliveries one query of what follows reads.
const restoreLook = 2000

// Identifiers are the identifiers of an instance's threads, some at a time; see
// [erasure.Identifiers]. A person comes once for each endpoint.
func (s *Store) Identifiers(ctx context.Context, instance, cursor string) (page []string, next string, err error) {
	type row struct{ channel, identifier string }
	channel, identifier, _ := strings.Cut(cursor, "/")
	rows, err := s.db.Reader().QueryContext(ctx, `
SELECT channel_id, client_identifier FROM thread WHERE instance = $1 AND (channel_id, client_identifier) > ($2, $3)
ORDER BY channel_id, client_identifier LIMIT CAST($4 AS BIGINT) + 0`, instance, channel, identifier, restoreLook)
	found, err := collect(rows, err, func(r *row) []any { return []any{&r.channel, &r.identifier} })
	if err != nil {
		return nil, "", fmt.Errorf("list identifiers: %w", err)
	}
	for _, r := range found {
		page = append(page, r.identifier)
	}
	if len(found) == restoreLook {
		last := found[len(found)-1]
		next = last.channel + "/" + last.identifier
	}
	return page, next, nil
}

// OwnedLane is a lane, and the id of the person whose it is.
type OwnedLane struct {
	LaneKey
	ContactID string
}

// LanesOf finds the lanes of an instance by whose they are. It reads every
// delivery, and asks mine about the contact of each.
func (s *Store) LanesOf(ctx context.Context, instance string, mine func(contactID string) bool) ([]OwnedLane, error) {
	type row struct{ id, contact, endpoint, interaction string }
	var lanes []OwnedLane
	seen := make(map[LaneKey]bool)
	for after := ""; ; {
		rows, err := s.db.Reader().QueryContext(ctx, `
SELECT id, contact_id, endpoint_id, interaction_id FROM delivery WHERE instance = $1 AND id > $2 ORDER BY id LIMIT CAST($3 AS BIGINT) + 0`,
			instance, after, restoreLook)
		found, err := collect(rows, err, func(r *row) []any { return []any{&r.id, &r.contact, &r.endpoint, &r.interaction} })
		if err != nil {
			return nil, fmt.Errorf("read contacts of deliveries: %w", err)
		}
		for _, r := range found {
			after = r.id
			key := LaneKey{Instance: instance, EndpointID: r.endpoint, InteractionID: r.interaction}
			if !seen[key] && mine(r.contact) {
				seen[key] = true
				lanes = append(lanes, OwnedLane{key, r.contact})
			}
		}
		if len(found) < restoreLook {
			return lanes, nil
		}
	}
}
