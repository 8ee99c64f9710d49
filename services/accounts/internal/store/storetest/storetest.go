// Package storetest is the contract of the accounts store: what must hold on every engine.
package storetest

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/accounts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// start is a moment with microseconds, which the store must keep.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// Run runs the contract against stores that open makes: each call a new and empty one.
func Run(t *testing.T, open func(t *testing.T) *sqldb.DB) {
	for name, test := range map[string]func(t *testing.T, f *fixture){
		"InstanceIsKeptAsGiven":          instanceIsKeptAsGiven,
		"SlugIsTakenOnce":                slugIsTakenOnce,
		"InstancesAreListedInByteOrder":  instancesAreListedInByteOrder,
		"ChangeTouchesNamedFieldsOnly":   changeTouchesNamedFieldsOnly,
		"KeyIsKeptAsGiven":               keyIsKeptAsGiven,
		"KeyNeedsItsInstance":            keyNeedsItsInstance,
		"KeysStayInsideTheirInstance":    keysStayInsideTheirInstance,
		"KeysAreListedOldestFirst":       keysAreListedOldestFirst,
		"UseOnlyMovesForward":            useOnlyMovesForward,
		"OnceGivesTheFirstResponseAgain": onceGivesTheFirstResponseAgain,
		"FailedCreateLeavesNothing":      failedCreateLeavesNothing,
		"SweepTakesExpiredRecordsOnly":   sweepTakesExpiredRecordsOnly,
		"ClosedStoreIsUnavailable":       closedStoreIsUnavailable,
	} {
		t.Run(name, func(t *testing.T) {
			c := clock.NewManual(start)
			db := open(t)
			test(t, &fixture{db: db, store: store.New(db, c), clock: c})
		})
	}
}

type fixture struct {
	db    *sqldb.DB
	store *store.Store
	clock *clock.Manual
}

func (f *fixture) createInstance(t *testing.T, i store.Instance) {
	t.Helper()
	require.NoError(t, f.tryInstance(t.Context(), i))
}

func (f *fixture) tryInstance(ctx context.Context, i store.Instance) error {
	_, _, err := f.store.Once(ctx, nil, func(ctx context.Context, tx *store.Tx) ([]byte, error) {
		return nil, tx.CreateInstance(ctx, i)
	})
	return err
}

func (f *fixture) createKey(t *testing.T, k store.APIKey) {
	t.Helper()
	require.NoError(t, f.tryKey(t.Context(), k))
}

func (f *fixture) tryKey(ctx context.Context, k store.APIKey) error {
	_, _, err := f.store.Once(ctx, nil, func(ctx context.Context, tx *store.Tx) ([]byte, error) {
		return nil, tx.CreateKey(ctx, k)
	})
	return err
}

func instance(slug string) store.Instance {
	return store.Instance{
		Slug: slug, DisplayName: "Açaí “" + slug + "” 🍇", TimeZone: "America/Sao_Paulo", InactivityTimeout: time.Hour,
		CreateTime: start, UpdateTime: start,
	}
}

func key(slug, id string) store.APIKey {
	hash := sha256.Sum256([]byte(slug + id))
	return store.APIKey{
		Instance: slug, ID: id, DisplayName: "chave", Scopes: []string{"manage"}, SecretHash: hash[:], CreateTime: start,
	}
}

func closedStoreIsUnavailable(t *testing.T, f *fixture) {
	require.NoError(t, f.db.Close())
	_, err := f.store.Instance(t.Context(), "acme")
	require.Error(t, err)
	require.NotErrorIs(t, err, store.ErrInstanceNotFound)
	require.ErrorIs(t, f.tryInstance(t.Context(), instance("acme")), sqldb.ErrUnavailable)
	require.Error(t, f.store.Ping(t.Context()))
}
