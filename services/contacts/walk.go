package contacts

import (
	"encoding/json"

	"github.com/prosa-chat/prosa/services/internal/pagetoken"
)

// maxPinned is how many persons a page token remembers: what fits into the 1,024 characters that a token may have. When more
// match the attributes asked for, who they are is looked up again on each page.
const maxPinned = 16

// walk is where a walk over pages is, and what was found out when it began, so that nothing that is written meanwhile changes what
// it shows.
type walk struct {
	// Low and High bound the numbers that are left, both inclusive. What was numbered since the beginning is above.
	Low  int64 `json:"l"`
	High int64 `json:"h"`
	// Count is how many matched.
	Count int64 `json:"n"`
	// From and Until are when the days or seconds asked for begin and end, in Unix microseconds; the instance may have moved since.
	From  *int64 `json:"f,omitempty"`
	Until *int64 `json:"u,omitempty"`
	// Picked says that what matched is looked up in a list of it; see picks.
	Picked bool `json:"k,omitempty"`
	// Deleted is how many had been deleted when the walk began.
	Deleted int64 `json:"d,omitempty"`
	// Contacts are the persons who matched, unless they were more than maxPinned.
	Contacts []string `json:"p,omitempty"`
}

func (w walk) encode() []byte {
	text, err := json.Marshal(w)
	if err != nil {
		panic(err) // numbers and texts always have a JSON form
	}
	return text
}

func decodeWalk(payload []byte) (*walk, error) {
	w := new(walk)
	if err := json.Unmarshal(payload, w); err != nil {
		return nil, pagetoken.ErrInvalid
	}
	return w, nil
}
