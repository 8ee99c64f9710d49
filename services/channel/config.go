package channel

import (
	"time"

	"github.com/prosa-chat/prosa/services/internal/ratelimit"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// Config is the settings of the channel service. The zero value of a field is
// its default.
type Config struct {
	// TurnsOff stores messages and has none answered: they wait. It is for
	// measuring, and for taking the agent away without refusing anybody.
	TurnsOff bool
	// EndpointRate is how much one channel takes. Default: 1,000 messages a
	// second, 2,000 at once. A negative rate is no limit.
	EndpointRate ratelimit.Rate
	// RefusedRate is how much of what must be refused is looked at: unknown
	// channels from one address, and wrong tokens from one address for one
	// channel. Default: 10 a second, 50 at once. A negative rate is no limit.
	RefusedRate ratelimit.Rate
	// TurnPool is how many turns run at once; those of one instance take at most
	// 7 of 8. Default: 256.
	TurnPool int
	// TurnLease is how long a thread stays taken after its process died; it is
	// renewed while a turn runs. Default: 15 s.
	TurnLease time.Duration
	// TurnTimeout bounds one call of the agent. Default: 30 s.
	TurnTimeout time.Duration
	// AnswerTimeout is how long a call of an integration of version V1 waits for
	// the agent. Default: 30 s.
	AnswerTimeout time.Duration
	// DeliveryPool is how many lanes are delivered from at once, half of it only
	// those that need not wait for others at their endpoint; those of one
	// instance take at most 7 of 8. Default: 1,024.
	DeliveryPool int
	// DeliveriesPerEndpoint is how many exchanges may go on with one endpoint.
	// Default: 64.
	DeliveriesPerEndpoint int
	// RedeliveryPool is how many conversations are sent again from at once.
	// Default: 32.
	RedeliveryPool int
	// RedeliveriesPerEndpoint is how many of them may be to one endpoint.
	// Default: 4.
	RedeliveriesPerEndpoint int
	// DeliveryLease is how long a lane stays taken after its process died; it is
	// renewed while an attempt runs. Default: 15 s.
	DeliveryLease time.Duration
	// Schedule is the waits between attempts. Default: webhook.DefaultSchedule.
	Schedule webhook.Schedule
	// Poll is how often due work is looked for. Work of this process is begun
	// without it. Default: 250 ms.
	Poll time.Duration
	// StopGrace is how long turns and attempts may go on after the soft stop.
	// It must be shorter than what the supervisor is given. Default: 10 s.
	StopGrace time.Duration
}

func (c Config) withDefaults() Config {
	number := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	duration := func(field *time.Duration, value time.Duration) {
		if *field <= 0 {
			*field = value
		}
	}
	rate := func(field *ratelimit.Rate, value ratelimit.Rate) {
		if *field == (ratelimit.Rate{}) {
			*field = value
		}
	}
	number(&c.TurnPool, 256)
	rate(&c.EndpointRate, ratelimit.Rate{PerSecond: 1000, Burst: 2000})
	rate(&c.RefusedRate, ratelimit.Rate{PerSecond: 10, Burst: 50})
	number(&c.DeliveryPool, 1024)
	number(&c.DeliveriesPerEndpoint, 64)
	number(&c.RedeliveryPool, 32)
	number(&c.RedeliveriesPerEndpoint, 4)
	duration(&c.TurnLease, 15*time.Second)
	duration(&c.TurnTimeout, 30*time.Second)
	duration(&c.AnswerTimeout, 30*time.Second)
	duration(&c.DeliveryLease, 15*time.Second)
	duration(&c.Poll, 250*time.Millisecond)
	duration(&c.StopGrace, 10*time.Second)
	if c.Schedule.Attempts() == 1 {
		c.Schedule = webhook.DefaultSchedule()
	}
	return c
}
