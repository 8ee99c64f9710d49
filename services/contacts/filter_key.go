package contacts

import (
	"encoding/json"
	"fmt"
)

// filterKey is a text for a filter of attendances or of events: the same whenever the same is asked.
func filterKey(filter any) string {
	text, err := json.Marshal(filter)
	if err != nil {
		panic(err) // numbers and texts always have a JSON form
	}
	return fmt.Sprintf("%T%s", filter, text)
}
