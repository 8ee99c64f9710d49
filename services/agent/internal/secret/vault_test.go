package secret_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/prosa-chat/prosa/services/agent/internal/secret"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// memory is a store that counts how often it is read.
type memory struct {
	secret.Store
	mu     sync.Mutex
	sealed map[string][]byte
	reads  int
	fail   error
	// endless says that there is no limit.
	endless bool
	// during runs in the middle of a read, after the value was read.
	during func()
}

func (m *memory) SealedSecret(_ context.Context, instance, name string) ([]byte, error) {
	m.mu.Lock()
	m.reads++
	sealed, ok := m.sealed[instance+"/"+name]
	fail, during := m.fail, m.during
	m.during = nil
	m.mu.Unlock()
	if during != nil {
		during()
	}
	if fail != nil {
		return nil, fail
	}
	if !ok {
		return nil, store.ErrNotFound
	}
	return sealed, nil
}

func (m *memory) SetSecret(_ context.Context, instance, name string, sealed []byte, limit int, now time.Time) (*store.Secret, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	if len(m.sealed) >= limit && !m.endless {
		return nil, store.ErrFull
	}
	m.sealed[instance+"/"+name] = sealed
	return &store.Secret{Name: name, CreateTime: now, UpdateTime: now}, nil
}

func (m *memory) DeleteSecret(_ context.Context, instance, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.sealed[instance+"/"+name]; !ok {
		return store.ErrNotFound
	}
	delete(m.sealed, instance+"/"+name)
	return nil
}

func newVault(t *testing.T) (*secret.Vault, *memory, *clock.Manual) {
	t.Helper()
	c := clock.NewManual(start)
	box, err := secretbox.New("0123456789abcdef0123456789abcdef")
	require.NoError(t, err)
	m := &memory{sealed: make(map[string][]byte)}
	return secret.NewVault(m, c, box, pagetoken.New(box.Derive("test"), c)), m, c
}

func read(t *testing.T, v *secret.Vault, instance, name string) string {
	t.Helper()
	value, err := v.Secret(t.Context(), instance, name)
	require.NoError(t, err)
	return value
}

func TestValuesAreSealedAndRemembered(t *testing.T) {
	v, m, c := newVault(t)
	_, err := v.Set(t.Context(), "acme", "erp", "hush-hush")
	require.NoError(t, err)
	require.NotContains(t, string(m.sealed["acme/erp"]), "hush")
	require.NotContains(t, base64.StdEncoding.EncodeToString(m.sealed["acme/erp"]), base64.StdEncoding.EncodeToString([]byte("hush-hush"))[:9])
	for range 3 {
		require.Equal(t, "hush-hush", read(t, v, "acme", "erp"))
	}
	require.Equal(t, 1, m.reads)
	c.Advance(secret.Age - time.Nanosecond)
	read(t, v, "acme", "erp")
	require.Equal(t, 1, m.reads)
	c.Advance(time.Nanosecond)
	read(t, v, "acme", "erp")
	require.Equal(t, 2, m.reads)

	// A change by this process is seen at once.
	_, err = v.Set(t.Context(), "acme", "erp", "new")
	require.NoError(t, err)
	require.Equal(t, "new", read(t, v, "acme", "erp"))
	require.NoError(t, v.Delete(t.Context(), "acme", "erp"))
	_, err = v.Secret(t.Context(), "acme", "erp")
	require.ErrorIs(t, err, secret.ErrMissing)
}

// A value that was changed while it was read is not remembered.
func TestAnOldValueIsNotRemembered(t *testing.T) {
	v, m, _ := newVault(t)
	_, err := v.Set(t.Context(), "acme", "erp", "old")
	require.NoError(t, err)
	m.during = func() {
		_, err := v.Set(t.Context(), "acme", "erp", "new")
		require.NoError(t, err)
	}
	require.Equal(t, "old", read(t, v, "acme", "erp"))
	require.Equal(t, "new", read(t, v, "acme", "erp"))
}

// A sealed value that was put into another row does not open there.
func TestASealedValueBelongsToItsRow(t *testing.T) {
	v, m, _ := newVault(t)
	_, err := v.Set(t.Context(), "acme", "erp", "hush")
	require.NoError(t, err)
	m.sealed["other/erp"], m.sealed["acme/crm"] = m.sealed["acme/erp"], m.sealed["acme/erp"]
	for _, place := range [][2]string{{"other", "erp"}, {"acme", "crm"}} {
		_, err := v.Secret(t.Context(), place[0], place[1])
		require.ErrorIs(t, err, secretbox.ErrOpen)
		require.NotContains(t, err.Error(), "hush")
	}
}

func TestFailures(t *testing.T) {
	v, m, _ := newVault(t)
	for _, place := range [][2]string{{"acme", "none"}, {"acme", "a\x00"}, {"\x00", "a"}} {
		_, err := v.Secret(t.Context(), place[0], place[1])
		require.ErrorIs(t, err, secret.ErrMissing)
		err = v.Delete(t.Context(), place[0], place[1])
		require.Equal(t, codes.NotFound, rpcerr.Code(err))
		require.Equal(t, "SECRET_NOT_FOUND", rpcerr.Reason(err))
	}
	for i := range secret.MaxSecrets {
		_, err := v.Set(t.Context(), "acme", fmt.Sprint("s", i), "x")
		require.NoError(t, err)
	}
	_, err := v.Set(t.Context(), "acme", "more", "x")
	require.Equal(t, codes.FailedPrecondition, rpcerr.Code(err))
	require.Equal(t, "SECRET_LIMIT_REACHED", rpcerr.Reason(err))

	_, _, err = v.List(t.Context(), "acme", 1, "forged")
	require.Equal(t, codes.InvalidArgument, rpcerr.Code(err))

	m.fail = fmt.Errorf("%w: test", sqldb.ErrUnavailable)
	_, err = v.Secret(t.Context(), "acme", "s1")
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
	_, err = v.Set(t.Context(), "acme", "s1", "hush")
	require.Equal(t, codes.Unavailable, rpcerr.Code(err))
	require.NotContains(t, err.Error(), "hush")
	m.fail = errors.New("odd")
	_, err = v.Secret(t.Context(), "acme", "s1")
	require.Error(t, err)
}

// What is remembered is bounded, and goes on when it is full.
func TestManyValues(t *testing.T) {
	v, m, _ := newVault(t)
	m.endless = true
	for i := range 1100 {
		instance := fmt.Sprint("i", i)
		_, err := v.Set(t.Context(), instance, "a", instance)
		require.NoError(t, err)
		require.Equal(t, instance, read(t, v, instance, "a"))
	}
	before := m.reads
	require.Equal(t, "i1099", read(t, v, "i1099", "a"))
	require.Equal(t, before, m.reads)
	require.Equal(t, "i0", read(t, v, "i0", "a"))
	require.Equal(t, before+1, m.reads)
}
