package turn

import (
	"sync"
	"time"
)

// zones remembers parsed time zones: reading one from the system's database costs more than a whole turn. There are some hundred
// names, and the accounts service lets no others in.
type zones struct{ byName sync.Map } // string → *time.Location

// get is the zone with an IANA name, and UTC when this machine does not know it: an answer with another hour in it is better than
// none.
func (z *zones) get(name string) *time.Location {
	if known, ok := z.byName.Load(name); ok {
		return known.(*time.Location)
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC
	}
	z.byName.Store(name, location)
	return location
}
