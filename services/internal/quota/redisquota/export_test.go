package redisquota

import "time"

// GoBy has the counter take the time of calls from now.
func (c *Counter) GoBy(now func() time.Time) { c.now = now }
