package chat

import (
	"strconv"
	"strings"
)

// Place is a place in the stream of an answer: how much came before it, and a check sum of that. Two streams with the same place have
// the same beginning, so a stream can be gone on with that was made anew after a crash, and one that is another is found out.
type Place struct {
	// size counts the bytes of the text before, and one for each message and for the end.
	size uint64
	sum  uint64 // FNV-1a, 64 bits
}

// The constants of FNV-1a (draft-eastlake-fnv).
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// What is summed of an event that is no text: bytes that UTF-8 does not have.
const (
	messageMark = "\xff"
	doneMark    = "\xfe"
)

// Beginning is the place before the first event.
func Beginning() Place { return Place{sum: fnvOffset} }

// after is the place behind more text.
func (p Place) after(text string) Place {
	for i := range len(text) {
		p.sum = (p.sum ^ uint64(text[i])) * fnvPrime
	}
	p.size += uint64(len(text))
	return p
}

// String is the place as the id of an event: "17-9f86d081884c7d65".
func (p Place) String() string {
	sum := strconv.FormatUint(p.sum, 16)
	return strconv.FormatUint(p.size, 10) + "-" + strings.Repeat("0", 16-len(sum)) + sum
}

// ParsePlace reads what String writes; nothing is the beginning.
func ParsePlace(id string) (Place, bool) {
	if id == "" {
		return Beginning(), true
	}
	first, second, _ := strings.Cut(id, "-")
	size, sizeErr := strconv.ParseUint(first, 10, 32)
	sum, sumErr := strconv.ParseUint(second, 16, 64)
	p := Place{size: size, sum: sum}
	return p, sizeErr == nil && sumErr == nil && p.String() == id
}
