package accounts

import (
	"encoding/binary"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// defaultPageSize is the size of a page that does not name one (contract: management).
const defaultPageSize = 50

// The scopes of page tokens: the methods. These lists have no filters.
const (
	scopeInstances = "prosa.accounts.v1.AccountsService/ListInstances"
	scopeKeys      = "prosa.accounts.v1.AccountsService/ListApiKeys"
)

func pageSize(asked int32) int {
	if asked <= 0 {
		return defaultPageSize
	}
	return int(asked)
}

// keyPlace is a place in the list of an instance's keys: after the key with this creation time and id. The zero value is the
// beginning.
type keyPlace struct {
	created time.Time
	id      string
}

func (p keyPlace) encode() []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(p.created.UnixMicro())), p.id...)
}

func decodeKeyPlace(payload []byte) (keyPlace, error) {
	const timeLength = 8
	if len(payload) != timeLength+id.Length {
		return keyPlace{}, pagetoken.ErrInvalid
	}
	return keyPlace{
		created: time.UnixMicro(int64(binary.BigEndian.Uint64(payload))).UTC(),
		id:      string(payload[timeLength:]),
	}, nil
}

// tokenError says in the contract's words what is wrong with a page token.
func tokenError(err error) error {
	reason := "is not a token of this list"
	if errors.Is(err, pagetoken.ErrExpired) {
		reason = "has expired"
	}
	return rpcerr.Invalid(rpcerr.Violation{Field: "pageToken", Reason: reason})
}

// decodeResponse reads the response that a create has kept.
func decodeResponse[M proto.Message](kept []byte, into M) (M, error) {
	if err := proto.Unmarshal(kept, into); err != nil {
		var none M
		return none, rpcerr.Internal(err)
	}
	return into, nil
}
