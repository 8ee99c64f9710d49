package conversation

import (
	"encoding/binary"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

// maxStepBytes bounds what the steps of a cursor take, so that it stays within what a token may be.
const maxStepBytes = 1200

// position is a place among the messages of a conversation, and steps on the way there.
type position struct {
	// turn is the number of the turn that is next, and shown how many of its messages were given already.
	turn, shown int64
	// steps are turns from which the chain leads back to it: one for each page or so, oldest first.
	steps []store.Link
}

// newSteps chooses steps among the turns of a chain, at equal distances. The last turn is one: what is behind it does not move.
func newSteps(chain []store.Link) []store.Link {
	if len(chain) == 0 {
		return nil
	}
	last := chain[len(chain)-1]
	room := max(1, maxStepBytes/(binary.MaxVarintLen32+1+len(last.TurnID)))
	distance := max(1, (len(chain)+room-1)/room)
	var steps []store.Link
	for i := len(chain) - 1; i >= 0; i -= distance {
		steps = append(steps, chain[i])
	}
	for i, j := 0, len(steps)-1; i < j; i, j = i+1, j-1 {
		steps[i], steps[j] = steps[j], steps[i]
	}
	return steps
}

func (p *position) encode() []byte {
	raw := binary.AppendUvarint(nil, uint64(p.turn))
	raw = binary.AppendUvarint(raw, uint64(p.shown))
	size := 0
	for _, step := range p.steps {
		if step.Number < p.turn {
			continue
		}
		if size += binary.MaxVarintLen32 + 1 + len(step.TurnID); size > maxStepBytes {
			break // identifiers of different lengths
		}
		raw = binary.AppendUvarint(raw, uint64(step.Number))
		raw = binary.AppendUvarint(raw, uint64(len(step.TurnID)))
		raw = append(raw, step.TurnID...)
	}
	return raw
}

func decodePosition(raw []byte) (p position, ok bool) {
	number := func() int64 {
		n, size := binary.Uvarint(raw)
		if size <= 0 {
			ok = false
			return 0
		}
		raw = raw[size:]
		return int64(n)
	}
	ok = true
	p.turn, p.shown = number(), number()
	for ok && len(raw) > 0 {
		step := store.Link{Number: number()}
		length := number()
		if !ok || length < 0 || length > int64(len(raw)) {
			return position{}, false
		}
		step.TurnID, raw = string(raw[:length]), raw[length:]
		p.steps = append(p.steps, step)
	}
	return p, ok && p.turn >= 1 && p.shown >= 0
}
