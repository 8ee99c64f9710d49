package grpcserver

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/admission"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/metric"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// The calls from outside that a process carries out at once, by who may make them. A gateway holds back more than that already; these are
// for several of them, for callers by gRPC, and for handlers that go on after their callers left. Calls of Prosa's own services are never
// held back: they finish what was accepted. Nor are health and reflection.
const (
	// messagePlaces are for calls that take messages, some of which wait for an answer.
	messagePlaces = 4096
	// conversationPlaces are for calls of the conversation API, which follow answers while they are made.
	conversationPlaces = 4096
	// queryPlaces are for queries of contacts, and again for management.
	queryPlaces = 256
)

// errShed is what is in the log for a call that was turned away.
var errShed = errors.New("too many calls are being carried out")

// The kinds of calls that have places, as metrics name them. Those of KindContacts and KindConversations are the ones that are counted
// for keys, too.
const (
	kindMessages   = "messages"
	kindManagement = "management"
)

// doors are the gates of one process.
type doors struct {
	gates map[string]*admission.Gate
	shed  *prometheus.CounterVec
}

func newDoors(c clock.Clock, registerer prometheus.Registerer) *doors {
	d := &doors{
		gates: map[string]*admission.Gate{
			kindMessages:      admission.New(messagePlaces, c),
			KindConversations: admission.New(conversationPlaces, c),
			KindContacts:      admission.New(queryPlaces, c),
			kindManagement:    admission.New(queryPlaces, c),
		},
		shed: register(registerer, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prosa_rpc_shed_total", Help: "RPCs turned away as UNAVAILABLE because too many were being carried out, by kind.",
		}, []string{"kind"})),
	}
	metric.Begin(d.shed, kindMessages, KindConversations, KindContacts, kindManagement)
	return d
}

// kindOf is the kind of the calls of an access; empty for those that are never held back.
func kindOf(access accountsv1.Access) string {
	switch access {
	case accountsv1.Access_ACCESS_OPEN:
		return kindMessages
	case accountsv1.Access_ACCESS_CONVERSATIONS:
		return KindConversations
	case accountsv1.Access_ACCESS_CONTACTS_READ:
		return KindContacts
	case accountsv1.Access_ACCESS_MANAGE, accountsv1.Access_ACCESS_ROOT:
		return kindManagement
	}
	return ""
}

// enter takes a place for a call, to be given back at the gate, which is nil where none is needed. The error says when to come again.
func (d *doors) enter(ctx context.Context, fullMethod string) (*admission.Gate, error) {
	kind := kindOf(auth.AccessOf(fullMethod))
	gate := d.gates[kind]
	if gate == nil || gate.Enter(ctx) {
		return gate, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	d.shed.WithLabelValues(kind).Inc()
	return nil, rpcerr.Unavailable(errShed)
}
