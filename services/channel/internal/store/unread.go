package store

// unread is what came to a thread or a lane while somebody held it, in order
// and without a gap: whoever ends the entry before gets it from here, and need
// not read what was written a moment ago.
type unread[E any] struct {
	first   int64 // the number of the first of entries
	entries []E
}

const (
	// maxUnread is how many entries are remembered so, of all threads and lanes
	// together, and unreadBytes is how long the text of one is at most: some
	// megabytes.
	maxUnread   = 8 << 10
	unreadBytes = 1 << 10
)

// add remembers the entry of a number, if there is room and no gap before it.
// total is how many are remembered altogether.
func (u *unread[E]) add(number int64, entry E, size int, total *int) {
	n := len(u.entries)
	if size > unreadBytes || *total >= maxUnread || n >= ReadAhead || n > 0 && number != u.first+int64(n) {
		return
	}
	if n == 0 {
		u.first = number
	}
	u.entries = append(u.entries, entry)
	*total++
}

// behind hands out the entries behind the one that is done, and forgets them.
// There are none if the next one is not remembered.
func (u *unread[E]) behind(done int64, total *int) []E {
	if len(u.entries) == 0 || u.first > done+1 {
		return nil
	}
	*total -= len(u.entries)
	left := u.entries[min(int(done+1-u.first), len(u.entries)):]
	u.entries = nil
	return left
}
