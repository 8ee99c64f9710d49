// Package redisquota counts the calls of API keys in Redis, for all processes that share one.
package redisquota

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/prosa-chat/prosa/services/internal/quota"
)

const (
	dialWithin = 500 * time.Millisecond
	// connections is how many a process has at most. A script takes some 50 µs.
	connections = 8
	// prefix begins all keys.
	prefix = "prosa:quota:"
)

// errURL says that the URL of the server cannot be used.
var errURL = errors.New("read Redis URL: it must be redis://…, rediss://… or unix://…")

// takeCall is run by Redis as one step: one round trip.
//
//go:embed take_call.lua
var takeCall string

// Counter counts in Redis. It is safe for concurrent use.
//
// Each subject has two keys, whose hash tag keeps them together in a cluster: the times of the last calls, for a second, and the
// count of the day, for two days after its last call. Times are those of the Redis server's clock. The count of a day is as durable
// as the server is told to make it; one that was lost goes on from what a process that calls remembers.
type Counter struct {
	client *redis.Client
	script *redis.Script
	// now is the time of calls where it is not the server's.
	now func() time.Time
}

var (
	_ quota.Counter = (*Counter)(nil)
	_ quota.Reader  = (*Counter)(nil)
)

// Open returns a counter on the server of a URL: redis://user:password@host:port/number, rediss:// with TLS, unix://user:password@path.
// It does not connect yet.
func Open(url string) (*Counter, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, errURL // the cause has the URL, and that may have a password
	}
	options.DialTimeout = dialWithin
	options.PoolSize = connections
	// Who asks decides how long: a deadline that only the library knew would end a call that its caller still waits for.
	options.ContextTimeoutEnabled = true
	// A call that is sent twice would count twice.
	options.MaxRetries = -1
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	// What goes wrong is an error of a call, and who makes it says so, in the log and without addresses.
	redis.SetLogger(silent{})
	return &Counter{client: redis.NewClient(options), script: redis.NewScript(takeCall)}, nil
}

// silent is what the library writes its own log to.
type silent struct{}

// Printf drops the line.
func (silent) Printf(context.Context, string, ...any) {}

// Close closes the connections.
func (c *Counter) Close() error { return c.client.Close() }

// Take counts a call, if that is allowed.
func (c *Counter) Take(ctx context.Context, ask quota.Ask) (quota.Tally, error) {
	times, day := keys(ask.Subject)
	now := ""
	if c.now != nil {
		now = strconv.FormatInt(c.now().UnixMicro(), 10)
	}
	answer, err := c.script.Run(ctx, c.client, []string{times, day},
		ask.PerSecond, ask.PerDay, ask.Day, ask.Floor, ask.Add, now).Int64Slice()
	if err != nil {
		return quota.Tally{}, fmt.Errorf("count call in Redis: %w", err)
	}
	if len(answer) != 5 {
		return quota.Tally{}, fmt.Errorf("count call in Redis: %d numbers came back", len(answer))
	}
	return quota.Tally{
		Allowed: answer[0] == 1, Day: answer[1], Used: answer[2], Recent: int(answer[3]), Reset: time.Duration(answer[4]) * time.Microsecond,
	}, nil
}

// Used is how many calls of the day each of the subjects has.
func (c *Counter) Used(ctx context.Context, day int64, subjects []quota.Subject) ([]int64, error) {
	answers := make([]*redis.SliceCmd, len(subjects))
	_, err := c.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, s := range subjects {
			_, key := keys(s)
			answers[i] = pipe.HMGet(ctx, key, "day", "used")
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read counts of calls in Redis: %w", err)
	}
	used := make([]int64, len(subjects))
	for i, answer := range answers {
		counted, n := number(answer.Val(), 0), number(answer.Val(), 1)
		if _, fresh := quota.Current(counted, day); !fresh {
			used[i] = n
		}
	}
	return used, nil
}

// number is a field of a hash; 0 when there is none.
func number(fields []any, i int) int64 {
	text, _ := fields[i].(string)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// keys are where a subject is counted. None of its parts has a brace or a slash.
func keys(s quota.Subject) (times, day string) {
	var b strings.Builder
	for _, part := range []string{prefix, "{", s.Instance, "/", s.Key, "/", s.Kind, "}"} {
		b.WriteString(part)
	}
	return b.String() + ":times", b.String() + ":day"
}
