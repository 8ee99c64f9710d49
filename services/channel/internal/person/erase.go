package person

import (
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// The kinds of things that erasing counts here.
const (
	kindMessages   = "messages"
	kindDeliveries = "deliveries"
)

const (
	// maxRounds bounds the rounds of an erasure. More than two are needed only
	// while the person goes on writing; what then comes is new.
	maxRounds = 3
	// maxAnswer is how large an answer of the agent may be.
	maxAnswer = 128 << 20
)

// EraseContact implements the PersonService.
func (s *Server) EraseContact(ctx context.Context, r *channelv1.EraseContactRequest) (*channelv1.EraseContactResponse, error) {
	if _, err := s.Instances.Get(ctx, r.GetInstance()); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	p := &erasing{
		Server: s, instance: r.GetInstance(), identifier: r.GetIdentifier(), counts: make(map[string]int64),
		interactions: make(map[string]bool), messages: make(map[string]bool),
	}
	known, err := p.ask(ctx, s.Clock.Now(), true)
	if err != nil {
		return nil, err
	}
	if r.GetDryRun() {
		if err := p.count(ctx, known); err != nil {
			return nil, rpcerr.FromStore(err)
		}
		return &channelv1.EraseContactResponse{Counts: p.counts, DryRun: true}, nil
	}
	if err := p.erase(ctx, known); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	s.Scrubber.Scrub(ctx)
	return &channelv1.EraseContactResponse{Counts: p.counts, EraseTime: timestamppb.New(p.record.Cut)}, nil
}

// erasing is one erasure on its way.
type erasing struct {
	*Server
	instance, identifier string
	record               erasure.Record
	counts               map[string]int64
	// interactions are the conversations that are known to be the person's,
	// messages those that were erased.
	interactions, messages map[string]bool
	found                  bool // this round erased something
}

// ask has the agent and contacts erase, or count.
func (p *erasing) ask(ctx context.Context, cut time.Time, dryRun bool) (*agentv1.ErasePersonResponse, error) {
	answer, err := p.Agent.ErasePerson(ctx, &agentv1.ErasePersonRequest{
		Instance: p.instance, Identifier: p.identifier, CutTime: timestamppb.New(cut), DryRun: dryRun,
	}, grpc.MaxCallRecvMsgSize(maxAnswer))
	if err != nil {
		return nil, rpcerr.FromPeer(err, errTooLarge)
	}
	for _, id := range answer.GetInteractionIds() {
		p.interactions[id] = true
	}
	return answer, nil
}

// lanes are the person's, as far as their conversations are known.
func (p *erasing) lanes(ctx context.Context, endpoints []string) ([]store.LaneKey, error) {
	return p.Store.PersonLanes(ctx, p.instance, endpoints, slices.Sorted(maps.Keys(p.interactions)))
}

// count counts what there is.
func (p *erasing) count(ctx context.Context, known *agentv1.ErasePersonResponse) error {
	maps.Copy(p.counts, known.GetCounts())
	endpoints, err := p.Store.Endpoints(ctx, p.instance)
	if err != nil {
		return err
	}
	threads, err := p.Store.PersonThreads(ctx, p.instance, p.identifier, endpoints)
	if err != nil {
		return err
	}
	for _, thread := range threads {
		n, err := p.Store.CountThread(ctx, thread)
		if err != nil {
			return err
		}
		p.counts[kindMessages] += n
	}
	lanes, err := p.lanes(ctx, endpoints)
	if err != nil {
		return err
	}
	for _, lane := range lanes {
		n, err := p.Store.CountLane(ctx, lane)
		if err != nil {
			return err
		}
		p.counts[kindDeliveries] += n
	}
	return nil
}

// erase erases everything. That it is to be done is on disk first, apart from
// the stores: whatever happens to them, the next start ends it.
func (p *erasing) erase(ctx context.Context, known *agentv1.ErasePersonResponse) error {
	p.record = erasure.Record{
		Instance: p.instance, Person: p.Hasher.Person(p.instance, p.identifier), Cut: p.Clock.Now().Truncate(time.Microsecond),
	}
	if err := p.note(known.GetContactIds()); err != nil {
		return err
	}
	if err := p.Store.BeginErasure(ctx, p.record); err != nil {
		return err
	}
	for round := range maxRounds {
		p.found = false
		endpoints, err := p.Store.Endpoints(ctx, p.instance) // those of now: a channel may be new
		if err != nil {
			return err
		}
		if err := p.eraseThreads(ctx, endpoints); err != nil {
			return err
		}
		if err := p.eraseLanes(ctx, endpoints); err != nil {
			return err
		}
		answer, err := p.ask(ctx, p.record.Cut, false)
		if err != nil {
			return err
		}
		for kind, n := range answer.GetCounts() {
			p.counts[kind] += n
			p.found = p.found || n > 0
		}
		// The conversations that were opened since they were asked for.
		if err := p.eraseLanes(ctx, endpoints); err != nil {
			return err
		}
		if round > 0 && !p.found {
			break
		}
	}
	if err := p.Store.ForgetKeys(ctx, p.instance, p.messages); err != nil {
		return err
	}
	p.record.Counts = p.counts
	return p.Store.FinishErasure(ctx, p.record, p.Clock.Now())
}

// note writes the erasure into the log.
func (p *erasing) note(contacts []string) error {
	entry := erasure.Entry{Instance: p.instance, Person: p.record.Person, Cut: p.record.Cut}
	for _, id := range contacts {
		entry.Contacts = append(entry.Contacts, p.Hasher.Contact(p.instance, id))
	}
	if err := p.Log.Append(entry); err != nil {
		return rpcerr.Unavailable(err)
	}
	return nil
}

// eraseThreads erases what the person sent. The cut is not before any of it.
func (p *erasing) eraseThreads(ctx context.Context, endpoints []string) error {
	threads, err := p.Store.PersonThreads(ctx, p.instance, p.identifier, endpoints)
	if err != nil {
		return err
	}
	latest := p.record.Cut
	for _, thread := range threads {
		erased, err := p.Store.EraseThread(ctx, thread)
		if err != nil {
			return err
		}
		p.Workers.Turns(thread)
		p.Messages.Add(float64(erased.Pending))
		p.counts[kindMessages] += int64(len(erased.MessageIDs))
		p.found = true
		for _, id := range erased.MessageIDs {
			p.messages[id] = true
		}
		if erased.Latest.After(latest) {
			latest = erased.Latest
		}
	}
	if !latest.After(p.record.Cut) {
		return nil
	}
	if err := p.Store.RaiseErasure(ctx, p.record, latest); err != nil {
		return err
	}
	p.record.Cut = latest
	return p.note(nil)
}

// eraseLanes erases what was sent to the person, or waits to be.
func (p *erasing) eraseLanes(ctx context.Context, endpoints []string) error {
	lanes, err := p.lanes(ctx, endpoints)
	if err != nil {
		return err
	}
	for _, lane := range lanes {
		deliveries, pending, err := p.Store.EraseLane(ctx, lane)
		if err != nil {
			return err
		}
		p.Workers.Deliveries(lane)
		p.Workers.Redeliveries(lane)
		p.Deliveries.Add(float64(pending))
		p.counts[kindDeliveries] += deliveries
		p.found = true
	}
	return nil
}
