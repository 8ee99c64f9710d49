// Package person serves the rights of a person in the agent service: everything that is kept about them, and erasing it. What contacts
// keeps is asked of contacts, so that whoever calls gets both.
package person

import (
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	// maxDocument is how large the description of a person's conversations may become, in bytes.
	maxDocument = 32 << 20
	// maxAnswer is how large an answer of contacts may be: its own bound, and as much again for what is around it.
	maxAnswer = 64 << 20
)

// Store is the part of the store that is needed.
type Store interface {
	PersonConversations(ctx context.Context, instance, identifier string) ([]store.PersonConversation, error)
	CountPerson(ctx context.Context, instance string, conversations []store.PersonConversation) (map[string]int64, error)
	DescribeConversation(ctx context.Context, instance, id string) (*store.DescribedConversation, error)
	BeginErasure(ctx context.Context, r erasure.Record) error
	EraseConversation(ctx context.Context, instance, id string, counts map[string]int64) (turns []string, err error)
	ForgetKeys(ctx context.Context, instance string, ids map[string]bool) error
	FinishErasure(ctx context.Context, r erasure.Record, now time.Time) error
	MissingErasures(ctx context.Context, records []erasure.Record) ([]erasure.Record, error)
	Identifiers(ctx context.Context, instance, cursor string) (page []string, next string, err error)
}

// Deps are what a Server works with. All are required.
type Deps struct {
	Store    Store
	Contacts contactsv1.PersonServiceClient
	Hasher   *erasure.Hasher
	Scrubber *erasure.Scrubber
	Clock    clock.Clock
}

// Server is PersonService.
type Server struct {
	agentv1.UnimplementedPersonServiceServer
	Deps
}

// New returns a server.
func New(deps Deps) *Server { return &Server{Deps: deps} }

var errTooLarge = rpcerr.New(codes.FailedPrecondition, agentv1.ErrorReason_ERROR_REASON_DOCUMENT_TOO_LARGE,
	"more is kept about the person than one document can hold")

// DescribePerson gives all that is kept about a person here and in contacts.
func (s *Server) DescribePerson(ctx context.Context, r *agentv1.DescribePersonRequest) (*agentv1.DescribePersonResponse, error) {
	known, err := s.Contacts.DescribePerson(ctx, &contactsv1.DescribePersonRequest{Instance: r.GetInstance(), Identifier: r.GetIdentifier()},
		grpc.MaxCallRecvMsgSize(maxAnswer))
	if err != nil {
		return nil, rpcerr.FromPeer(err, errTooLarge)
	}
	response := &agentv1.DescribePersonResponse{Person: known.GetPerson()}
	conversations, err := s.Store.PersonConversations(ctx, r.GetInstance(), r.GetIdentifier())
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	size := 0
	for _, c := range conversations {
		found, err := s.Store.DescribeConversation(ctx, r.GetInstance(), c.ID)
		if err != nil {
			return nil, rpcerr.FromStore(err)
		}
		message, err := described(found)
		if err != nil {
			return nil, rpcerr.Internal(err)
		}
		for _, t := range found.Turns {
			size += len(t.Answer) + len(t.Record)
		}
		if size += len(found.FlowState); size > maxDocument {
			return nil, errTooLarge
		}
		response.Conversations = append(response.Conversations, message)
	}
	return response, nil
}

// ErasePerson erases a person here and in contacts, or counts what that would erase. Here comes first: a turn that is being computed is
// then refused here, or has told contacts of its attendance already, which contacts erases with the others. Conversations whose
// attendance was opened by a message that came after the cut are left alone in both.
func (s *Server) ErasePerson(ctx context.Context, r *agentv1.ErasePersonRequest) (*agentv1.ErasePersonResponse, error) {
	record := erasure.Record{
		Instance: r.GetInstance(), Person: s.Hasher.Person(r.GetInstance(), r.GetIdentifier()), Cut: r.GetCutTime().AsTime(),
	}
	if !r.GetDryRun() {
		if err := s.Store.BeginErasure(ctx, record); err != nil {
			return nil, rpcerr.FromStore(err)
		}
	}
	// Before contacts is asked: so it knows of the attendance of each.
	conversations, err := s.Store.PersonConversations(ctx, r.GetInstance(), r.GetIdentifier())
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	theirs, err := s.askContacts(ctx, r, true)
	if err != nil {
		return nil, err
	}
	conversations = without(conversations, theirs.GetLaterInteractionIds())
	response := &agentv1.ErasePersonResponse{}
	tell(conversations, response)
	if r.GetDryRun() {
		if response.Counts, err = s.Store.CountPerson(ctx, r.GetInstance(), conversations); err != nil {
			return nil, rpcerr.FromStore(err)
		}
	} else {
		if response.Counts, err = s.erase(ctx, record, conversations); err != nil {
			return nil, rpcerr.FromStore(err)
		}
		if theirs, err = s.askContacts(ctx, r, false); err != nil {
			return nil, err
		}
		if response.Counts[store.KindConversations] > 0 {
			s.Scrubber.Scrub(ctx)
		}
	}
	maps.Copy(response.Counts, theirs.GetCounts())
	response.InteractionIds = union(response.GetInteractionIds(), theirs.GetInteractionIds())
	response.ContactIds = union(response.GetContactIds(), theirs.GetContactIds())
	return response, nil
}

func (s *Server) askContacts(ctx context.Context, r *agentv1.ErasePersonRequest, dryRun bool) (*contactsv1.ErasePersonResponse, error) {
	theirs, err := s.Contacts.ErasePerson(ctx, &contactsv1.ErasePersonRequest{
		Instance: r.GetInstance(), Identifier: r.GetIdentifier(), CutTime: r.GetCutTime(), DryRun: dryRun,
	}, grpc.MaxCallRecvMsgSize(maxAnswer))
	if err != nil {
		return nil, rpcerr.FromPeer(err, errTooLarge)
	}
	return theirs, nil
}

// without is the conversations that are not those of the ids.
func without(conversations []store.PersonConversation, ids []string) []store.PersonConversation {
	return slices.DeleteFunc(conversations, func(c store.PersonConversation) bool { return slices.Contains(ids, c.ID) })
}

// union is both lists, each element once.
func union(a, b []string) []string {
	seen := make(map[string]bool, len(a))
	for _, element := range a {
		seen[element] = true
	}
	for _, element := range b {
		if !seen[element] {
			seen[element] = true
			a = append(a, element)
		}
	}
	return a
}

func tell(conversations []store.PersonConversation, into *agentv1.ErasePersonResponse) {
	var contacts []string
	for _, c := range conversations {
		into.InteractionIds = append(into.InteractionIds, c.ID)
		if c.ContactID != "" {
			contacts = append(contacts, c.ContactID)
		}
	}
	into.ContactIds = union(nil, contacts)
}

// erase deletes conversations of a person, whose record is stored already, and counts what was deleted.
func (s *Server) erase(ctx context.Context, record erasure.Record, conversations []store.PersonConversation) (map[string]int64, error) {
	record.Counts = make(map[string]int64)
	ids := make(map[string]bool)
	for _, c := range conversations {
		turns, err := s.Store.EraseConversation(ctx, record.Instance, c.ID, record.Counts)
		if err != nil {
			return nil, err
		}
		ids[c.ID] = true
		for _, turn := range turns {
			ids[turn] = true
		}
	}
	if len(ids) > 0 {
		if err := s.Store.ForgetKeys(ctx, record.Instance, ids); err != nil {
			return nil, err
		}
	}
	return maps.Clone(record.Counts), s.Store.FinishErasure(ctx, record, s.Clock.Now())
}

// RestoreErasures erases again who came back with an older copy of a store, here and in contacts.
func (s *Server) RestoreErasures(ctx context.Context, r *agentv1.RestoreErasuresRequest) (*agentv1.RestoreErasuresResponse, error) {
	restorer := erasure.Restorer{Store: s.Store, Hasher: s.Hasher, Scrubber: s.Scrubber, Clock: s.Clock}
	erased, err := restorer.Restore(ctx, erasure.RecordsOf(r.GetRecords()), s.eraseAgain)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	theirs, err := s.Contacts.RestoreErasures(ctx, &contactsv1.RestoreErasuresRequest{Records: r.GetRecords()})
	if err != nil {
		return nil, rpcerr.FromPeer(err, errTooLarge)
	}
	return &agentv1.RestoreErasuresResponse{Erased: erased + theirs.GetErased()}, nil
}

func (s *Server) eraseAgain(ctx context.Context, record erasure.Record, identifier string) error {
	conversations, err := s.Store.PersonConversations(ctx, record.Instance, identifier)
	if err != nil {
		return err
	}
	_, err = s.erase(ctx, record, conversations)
	return err
}

// optional is a time, or none for the zero one.
func optional(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
