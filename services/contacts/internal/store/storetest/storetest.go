// Package storetest is the contract of the contacts store: what must hold on every engine.
package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/contacts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// start is a moment with microseconds, which the store must keep.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// Run runs the contract against stores that open makes: each call a new and empty one.
func Run(t *testing.T, open func(t *testing.T) *sqldb.DB) {
	for name, test := range map[string]func(t *testing.T, f *fixture){
		"NumbersAreGivenInOrder":         numbersAreGivenInOrder,
		"RepeatedOpeningIsTheSame":       repeatedOpeningIsTheSame,
		"ContactIsKeptForEver":           contactIsKeptForEver,
		"OpeningsAtOnce":                 openingsAtOnce,
		"SameOpeningAtOnce":              sameOpeningAtOnce,
		"TurnIsKeptWhole":                turnIsKeptWhole,
		"RepeatedTurnsAreIgnored":        repeatedTurnsAreIgnored,
		"SameTurnsAtOnce":                sameTurnsAtOnce,
		"TurnsOfSharedAttendancesAtOnce": turnsOfSharedAttendancesAtOnce,
		"TurnsOfNoAttendance":            turnsOfNoAttendanceHoldNobodyUp,
		"TurnsOfAnotherInstance":         turnsOfAnotherInstance,
		"TurnIDsAreUnique":               turnIDsAreUnique,
		"TurnsAndRepetitionsInOneCall":   turnsAndRepetitionsInOneCall,
		"ManyTurnsInOneCall":             manyTurnsInOneCall,
		"AttributesAreLearned":           attributesAreLearned,
		"EventTypesAreNumberedOnce":      eventTypesAreNumberedOnce,
		"EventTypesAtOnce":               eventTypesAtOnce,
		"FiltersFindWhatTheySay":         filtersFindWhatTheySay,
		"EventFiltersFindWhatTheySay":    eventFiltersFindWhatTheySay,
		"EventPagesEndEarly":             eventPagesEndEarly,
		"ImportIsKeptWhole":              importIsKeptWhole,
		"ImportIsDoneOnce":               importIsDoneOnce,
		"SameImportAtOnce":               sameImportAtOnce,
		"ImportOfKnownPeople":            importOfKnownPeople,
		"ImportsStayInTheirInstance":     importsStayInTheirInstance,
		"ImportBesideLiveTurns":          importBesideLiveTurns,
		"PeopleAreFoundByAllThatIsSaid":  peopleAreFoundByAllThatIsSaid,
		"WeightsCountHistoryAndEvents":   weightsCountHistoryAndEvents,
		"AnyTextIsKept":                  anyTextIsKept,
		"OldAttendancesAreDeleted":       oldAttendancesAreDeleted,
		"ErasedPeopleAreGone":            erasedPeopleAreGone,
		"ErasureRefusesWhatCameBefore":   erasureRefusesWhatCameBefore,
		"ErasuresOfAnOlderCopy":          erasuresOfAnOlderCopyAreMissing,
		"OpeningsWhileErasing":           openingsWhileErasing,
		"ClosedStoreFails":               closedStoreFails,
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t)
			c := clock.NewManual(start)
			test(t, &fixture{db: db, store: store.New(db), ids: id.NewSource(c, nil)})
		})
	}
}

type fixture struct {
	db    *sqldb.DB
	store *store.Store
	ids   *id.Source
}

func (f *fixture) opening(instance, request, identifier string) store.Opening {
	return store.Opening{
		Instance: instance, RequestID: request, InteractionID: f.ids.New(), ContactID: f.ids.New(),
		Identifier: identifier, AssistantID: 7, Source: "api", Time: start,
	}
}

func (f *fixture) open(t *testing.T, instance, request, identifier string) store.Opened {
	t.Helper()
	opened, err := f.store.OpenAttendance(t.Context(), f.opening(instance, request, identifier))
	require.NoError(t, err)
	return opened
}

// attendance reads one attendance back.
func (f *fixture) attendance(t *testing.T, instance string, number int64) store.Attendance {
	t.Helper()
	page, err := f.store.Page(t.Context(), store.Filter{Instance: instance, ID: &number, Low: 1, High: number}, 2)
	require.NoError(t, err)
	require.Len(t, page, 1)
	return page[0]
}

func (f *fixture) record(t *testing.T, instance string, turns ...store.Turn) int {
	t.Helper()
	fresh, unknown, err := f.store.RecordTurns(t.Context(), instance, turns)
	require.NoError(t, err)
	require.Empty(t, unknown)
	return fresh
}

func (f *fixture) history(t *testing.T, instance string, number int64) []string {
	t.Helper()
	history, err := f.store.History(t.Context(), instance, []int64{number})
	require.NoError(t, err)
	said := []string{}
	for _, items := range history[number] {
		said = append(said, string(items))
	}
	return said
}

func (f *fixture) events(t *testing.T, instance string, number int64) []store.Event {
	t.Helper()
	events, err := f.store.Events(t.Context(), instance, []int64{number})
	require.NoError(t, err)
	return events[number]
}

func turn(number int64, n int) store.Turn {
	name := fmt.Sprintf("%d-%d", number, n)
	return store.Turn{ID: "turn-" + name, AttendanceID: number, Items: []byte(name), Spoken: 1}
}

func closedStoreFails(t *testing.T, f *fixture) {
	require.NoError(t, f.store.Ping(t.Context()))
	require.NoError(t, f.db.Close())
	require.Error(t, f.store.Ping(t.Context()))
	_, err := f.store.OpenAttendance(t.Context(), f.opening("acme", "r", "p"))
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
	_, _, err = f.store.RecordTurns(t.Context(), "acme", []store.Turn{turn(1, 1)})
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
	_, _, err = f.store.Attendances(t.Context(), "acme")
	require.Error(t, err)
}
