package channel

import (
	"time"

	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// Config is the settings of the channel service. The zero value of a field is
// its default.
type Config struct {
	// TurnsOff stores messages and has none answered: they wait. It is for
	// measuring, and for taking the agent away without refusing anybody.
	TurnsOff bool
	// TurnPool is how many turns run at once. Default: 256.
	TurnPool int
	// TurnLease is how long a thread stays taken after its process died; it is
	// renewed while a turn runs. Default: 15 s.
	TurnLease time.Duration
	// TurnTimeout bounds one call of the agent. Default: 30 s.
	TurnTimeout time.Duration
	// DeliveryPool is how many attempts run at once. Default: 512.
	DeliveryPool int
	// DeliveriesPerEndpoint is how many of them may be to one endpoint. Default: 64.
	DeliveriesPerEndpoint int
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
	number(&c.TurnPool, 256)
	number(&c.DeliveryPool, 512)
	number(&c.DeliveriesPerEndpoint, 64)
	duration(&c.TurnLease, 15*time.Second)
	duration(&c.TurnTimeout, 30*time.Second)
	duration(&c.DeliveryLease, 15*time.Second)
	duration(&c.Poll, 250*time.Millisecond)
	duration(&c.StopGrace, 10*time.Second)
	if c.Schedule.Attempts() == 1 {
		c.Schedule = webhook.DefaultSchedule()
	}
	return c
}
