// Package messageid gives the two messages of a turn their identifiers: what the agent answered has the turn's, and what the person said
// one that follows from it, so that nothing is stored for it.
package messageid

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/prosa-chat/prosa/services/internal/id"
)

// person is what an identifier of a turn and that of the person's message in it differ by: the random part, not the time. Any value but
// zero would do.
const person = 0x5e_1d_70_72_6f_73_61_01

// OfPerson is the identifier of the person's message in a turn: 24 lower-case hexadecimal digits, with the time of the turn's when that has
// such a form itself. The same turn always gives the same one, and no two turns do.
func OfPerson(turnID string) string {
	raw, ok := parse(turnID)
	if !ok {
		// An identifier that somebody else chose.
		sum := sha256.Sum256([]byte(turnID))
		return hex.EncodeToString(sum[:id.Length/2])
	}
	return flip(raw)
}

// TurnOf is the turn in which a person said the message, and false for what no person's message is called. It only undoes OfPerson: there
// need be no such turn.
func TurnOf(messageID string) (turnID string, ok bool) {
	raw, ok := parse(messageID)
	if !ok {
		return "", false
	}
	return flip(raw), true
}

func parse(text string) (raw []byte, ok bool) {
	if !id.Valid(text) {
		return nil, false
	}
	raw, err := hex.DecodeString(text)
	return raw, err == nil
}

func flip(raw []byte) string {
	random := raw[len(raw)-8:]
	binary.BigEndian.PutUint64(random, binary.BigEndian.Uint64(random)^person)
	return hex.EncodeToString(raw)
}
