package sqldb_test

import (
	"fmt"
	"sync/atomic"
)

// counter makes ids that ascend, as those of real rows nearly do.
type counter struct{ last atomic.Int64 }

func (c *counter) id() string { return fmt.Sprintf("%024x", c.last.Add(1)) }
