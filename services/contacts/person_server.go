package contacts

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/contacts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	// maxDocument is how large the description of a person may become, in bytes.
	maxDocument = 32 << 20
	// describedAtOnce is how many attendances are read at once for it.
	describedAtOnce = 20
)

// personServer is PersonService: what a person may ask for by law.
type personServer struct {
	contactsv1.UnimplementedPersonServiceServer
	store    *store.Store
	places   *places
	hasher   *erasure.Hasher
	scrubber *erasure.Scrubber
	clock    clock.Clock
}

var errTooLarge = rpcerr.New(codes.FailedPrecondition, contactsv1.ErrorReason_ERROR_REASON_DOCUMENT_TOO_LARGE,
	"more is kept about the person than one document can hold")

// DescribePerson gives all that is kept about a person.
func (s *personServer) DescribePerson(ctx context.Context, r *contactsv1.DescribePersonRequest) (*contactsv1.DescribePersonResponse, error) {
	contact, err := s.store.Contact(ctx, r.GetInstance(), r.GetIdentifier())
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	if contact == nil {
		return &contactsv1.DescribePersonResponse{}, nil
	}
	person, err := s.describe(ctx, r.GetInstance(), contact)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return &contactsv1.DescribePersonResponse{Person: person}, nil
}

func (s *personServer) describe(ctx context.Context, instance string, contact *store.Contact) (*contactsv1.Person, error) {
	place, err := s.places.of(ctx, instance)
	if err != nil {
		return nil, err
	}
	attributes, err := s.store.Attributes(ctx, instance, []string{contact.ID})
	if err != nil {
		return nil, err
	}
	person := &contactsv1.Person{
		ContactId: contact.ID, CreateTime: timestamppb.New(contact.CreateTime), Attributes: attributes[contact.ID],
	}
	size := 0
	for high := int64(math.MaxInt64); ; {
		filter := store.Filter{Instance: instance, Low: 1, High: high, Contacts: []string{contact.ID}}
		page, err := s.store.Page(ctx, filter, describedAtOnce)
		if err != nil {
			return nil, err
		}
		numbers := make([]int64, len(page))
		for n, a := range page {
			numbers[n], high = a.ID, a.ID-1
		}
		history, err := s.store.History(ctx, instance, numbers)
		if err != nil {
			return nil, err
		}
		events, err := s.store.Events(ctx, instance, numbers)
		if err != nil {
			return nil, err
		}
		for _, a := range page {
			message := attendanceMessage(a, attributes[contact.ID], place)
			if err := decodeItems(history[a.ID], message); err != nil {
				return nil, err
			}
			for _, e := range events[a.ID] {
				message.Events = append(message.Events, eventMessage(e, a.Source, place))
			}
			if size += proto.Size(message); size > maxDocument {
				return nil, errTooLarge
			}
			person.Attendances = append(person.Attendances, message)
		}
		if len(page) < describedAtOnce {
			return person, nil
		}
	}
}

// ErasePerson erases a person, or counts what that would erase.
func (s *personServer) ErasePerson(ctx context.Context, r *contactsv1.ErasePersonRequest) (*contactsv1.ErasePersonResponse, error) {
	if r.GetDryRun() {
		response, _, err := s.look(ctx, r.GetInstance(), r.GetIdentifier(), r.GetCutTime().AsTime())
		if err != nil {
			return nil, rpcerr.FromStore(err)
		}
		return response, nil
	}
	response, err := s.erase(ctx, erasure.Record{
		Instance: r.GetInstance(), Person: s.hasher.Person(r.GetInstance(), r.GetIdentifier()), Cut: r.GetCutTime().AsTime(),
	}, r.GetIdentifier())
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	if response.Counts[store.KindContacts]+response.Counts[store.KindAttendances] > 0 {
		s.scrubber.Scrub(ctx)
	}
	return response, nil
}

// look counts what there is of a person up to a time.
func (s *personServer) look(ctx context.Context, instance, identifier string, cut time.Time) (*contactsv1.ErasePersonResponse, *store.Contact, error) {
	contact, err := s.store.Contact(ctx, instance, identifier)
	if err != nil || contact == nil {
		return &contactsv1.ErasePersonResponse{}, nil, err
	}
	response := &contactsv1.ErasePersonResponse{ContactIds: []string{contact.ID}}
	if response.Counts, err = s.store.CountPerson(ctx, instance, contact.ID, cut); err != nil {
		return nil, nil, err
	}
	response.InteractionIds, response.LaterInteractionIds, err = s.store.Interactions(ctx, instance, contact.ID, cut)
	return response, contact, err
}

// erase deletes what there is of a person. The record comes first: what is on its way is refused from then on.
func (s *personServer) erase(ctx context.Context, record erasure.Record, identifier string) (*contactsv1.ErasePersonResponse, error) {
	if err := s.store.BeginErasure(ctx, record); err != nil {
		return nil, err
	}
	response, contact, err := s.look(ctx, record.Instance, identifier, record.Cut)
	if err != nil {
		return nil, err
	}
	record.Counts = make(map[string]int64)
	if contact != nil {
		for more := true; more; {
			if more, err = s.store.EraseAttendances(ctx, record.Instance, contact.ID, record.Cut, record.Counts); err != nil {
				return nil, err
			}
		}
		if err := s.store.EraseContact(ctx, record.Instance, contact.ID, record.Counts); err != nil {
			return nil, err
		}
	}
	response.Counts = record.Counts
	return response, s.store.FinishErasure(ctx, record, s.clock.Now())
}

// RestoreErasures erases again who came back with an older copy of the store.
func (s *personServer) RestoreErasures(ctx context.Context, r *contactsv1.RestoreErasuresRequest) (*contactsv1.RestoreErasuresResponse, error) {
	restorer := erasure.Restorer{Store: s.store, Hasher: s.hasher, Scrubber: s.scrubber, Clock: s.clock}
	erased, err := restorer.Restore(ctx, erasure.RecordsOf(r.GetRecords()), func(ctx context.Context, r erasure.Record, identifier string) error {
		_, err := s.erase(ctx, r, identifier)
		return err
	})
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return &contactsv1.RestoreErasuresResponse{Erased: erased}, nil
}

// fromErased makes of the store's answer about an erased person what the caller is told: that it is final.
func fromErased(err error) error {
	if errors.Is(err, store.ErrErased) {
		return rpcerr.New(codes.FailedPrecondition, contactsv1.ErrorReason_ERROR_REASON_PERSON_ERASED, "the person was erased")
	}
	return rpcerr.FromStore(fmt.Errorf("open attendance: %w", err))
}
