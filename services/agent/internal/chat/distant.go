package chat

import (
	"context"
	"sync"
)

// distant is an answer that another process makes: it is read whole when it is stored.
type distant struct {
	service                  *Service
	instance, conversationID string

	mu   sync.Mutex
	made *answer
}

func (d *distant) check(context.Context, string, Place) error { return nil }

func (d *distant) next(ctx context.Context, id string, from Place) ([]Event, error) {
	var made *answer
	err := d.service.untilEnded(ctx, d.conversationID, func() (bool, error) {
		var err error
		made, err = d.look(ctx, id)
		return made != nil, err
	})
	if err != nil {
		return nil, err
	}
	return made.next(ctx, id, from)
}

// look is the answer, when there is one. It may be that this process took the turn over meanwhile.
func (d *distant) look(ctx context.Context, id string) (*answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.made != nil {
		return d.made, nil
	}
	if j := d.service.running(turnKey{d.instance, id}); j != nil {
		d.made = j.answer
		return d.made, nil
	}
	var err error
	d.made, err = d.service.stored(ctx, d.instance, d.conversationID, id)
	return d.made, err
}
