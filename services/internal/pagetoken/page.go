package pagetoken

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// The number of items of a page.
const (
	DefaultSize = 50
	MaxSize     = 500
)

// Size is how many items a page has when so many were asked for: DefaultSize for none, MaxSize at most.
func Size(asked int32) int {
	if asked <= 0 {
		return DefaultSize
	}
	return min(int(asked), MaxSize)
}

// Place is a place in a list that is ordered by creation: behind the item with this time, in microseconds, and id. The zero value is
// the beginning.
type Place struct {
	Time time.Time
	ID   string
}

// EncodePlace makes the token that continues a list at a place.
func (c *Codec) EncodePlace(instance, scope string, p Place) string {
	return c.Encode(instance, scope, append(binary.BigEndian.AppendUint64(nil, uint64(p.Time.UnixMicro())), p.ID...))
}

// DecodePlace returns the place of a token that EncodePlace made for the same instance and scope, or ErrInvalid, or ErrExpired. The
// empty token is that of the beginning.
func (c *Codec) DecodePlace(token, instance, scope string) (Place, error) {
	if token == "" {
		return Place{}, nil
	}
	payload, err := c.Decode(token, instance, scope)
	if err != nil {
		return Place{}, err
	}
	if len(payload) != timeLength+id.Length {
		return Place{}, ErrInvalid
	}
	return Place{
		Time: time.UnixMicro(int64(binary.BigEndian.Uint64(payload))).UTC(),
		ID:   string(payload[timeLength:]),
	}, nil
}

// Violation says to a caller what is wrong with the token in a field of the request; err is what reading it gave.
func Violation(field string, err error) rpcerr.Violation {
	reason := "is not a token of this list"
	if errors.Is(err, ErrExpired) {
		reason = "has expired"
	}
	return rpcerr.Violation{Field: field, Reason: reason}
}
