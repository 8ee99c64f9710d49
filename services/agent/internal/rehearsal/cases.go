// Package rehearsal runs conversations that are written down as cases against a definition, without a store, a network or a clock, and
// says where the agent answers otherwise than is written.
package rehearsal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"go.yaml.in/yaml/v3"
)

// script is a file of cases.
type script struct {
	// TimeZone is the time zone of the instance. Default: America/Sao_Paulo.
	TimeZone string `yaml:"timeZone"`
	// Now is when each case begins, in the time zone: 2006-01-02T15:04:05. Default: Monday 5 January 2026, nine o'clock.
	Now string `yaml:"now"`
	// Calls are what the calls of nodes are answered with, by the names of the nodes, in cases that say nothing else of that node.
	Calls map[string]replies `yaml:"calls"`
	// Cases are the conversations.
	Cases []scene `yaml:"cases"`

	location *time.Location
}

// scene is one conversation.
type scene struct {
	Name string `yaml:"name"`
	// Now is when it begins, as in script. Default: that of the script.
	Now string `yaml:"now"`
	// Contact is what is known about the person.
	Contact map[string]string `yaml:"contact"`
	// Calls is as in script.
	Calls map[string]replies `yaml:"calls"`
	Turns []exchange         `yaml:"turns"`

	begin time.Time
	line  int
}

// exchange is a turn: what the person does, and what is expected. What is not written is not compared.
type exchange struct {
	// User is what the person types, Press the label of the option that they press, and Open says that a program opens the turn. There is
	// exactly one of them.
	User  *string `yaml:"user"`
	Press *string `yaml:"press"`
	Open  bool    `yaml:"open"`
	// After is how long after the turn before. Default: not at all.
	After string `yaml:"after"`
	// Sent is added to the context.
	Sent map[string]any `yaml:"sent"`

	// Bot is the answer, a line a message.
	Bot *[]string `yaml:"bot"`
	// Node is the last node that ran, and Intent the intent that matched.
	Node   *string `yaml:"node"`
	Intent *string `yaml:"intent"`
	// Events are what the flow reported: the name as `name`, and the details.
	Events *[]map[string]string `yaml:"events"`
	// Called are the calls of the turn: method, URL and body.
	Called *[]string `yaml:"called"`
	// Context and Contact are values that are kept after the turn; an empty one is not kept.
	Context map[string]string `yaml:"context"`
	Contact map[string]string `yaml:"contact"`
	// Handoff is the squad that has the conversation after the turn, empty if none has.
	Handoff *string `yaml:"handoff"`
	// End says that the turn ended the conversation.
	End *bool `yaml:"end"`

	after time.Duration
}

const (
	defaultZone = "America/Sao_Paulo"
	defaultNow  = "2026-01-05T09:00:00"
	localTime   = "2006-01-02T15:04:05"
)

// parse reads a file of cases. The error says the first thing that is wrong, with its line where there is one.
func parse(text []byte) (*script, error) {
	s := &script{TimeZone: defaultZone, Now: defaultNow}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(s); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(s.Cases) == 0 {
		return nil, errors.New("there are no cases")
	}
	var places struct {
		Cases []yaml.Node `yaml:"cases"`
	}
	err := yaml.Unmarshal(text, &places)
	if err != nil {
		return nil, err
	}
	if s.location, err = time.LoadLocation(s.TimeZone); err != nil {
		return nil, fmt.Errorf("timeZone: %w", err)
	}
	for i := range s.Cases {
		s.Cases[i].line = places.Cases[i].Line
		if err := s.Cases[i].complete(s); err != nil {
			return nil, fmt.Errorf("line %d: case %q: %w", s.Cases[i].line, s.Cases[i].Name, err)
		}
	}
	return s, nil
}

// complete checks a case, and computes its times.
func (c *scene) complete(s *script) error {
	if c.Name == "" {
		return errors.New("it has no name")
	}
	if len(c.Turns) == 0 {
		return errors.New("it has no turns")
	}
	if c.Now == "" {
		c.Now = s.Now
	}
	var err error
	if c.begin, err = time.ParseInLocation(localTime, c.Now, s.location); err != nil {
		return fmt.Errorf("now: must be a time like %s", defaultNow)
	}
	for i := range c.Turns {
		turn := &c.Turns[i]
		if turn.ways() != 1 {
			return fmt.Errorf("turn %d: one of user, press and open must be given", i+1)
		}
		if turn.After == "" {
			continue
		}
		if turn.after, err = time.ParseDuration(turn.After); err != nil || turn.after < 0 {
			return fmt.Errorf("turn %d: after: must be a duration like 36h or 5m", i+1)
		}
	}
	return nil
}

// ways is how many ways of coming about a turn has.
func (e *exchange) ways() (n int) {
	for _, given := range []bool{e.User != nil, e.Press != nil, e.Open} {
		if given {
			n++
		}
	}
	return n
}
