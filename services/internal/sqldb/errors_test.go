package sqldb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

func TestMeaningOfServerErrors(t *testing.T) {
	for state, want := range map[string]struct {
		unavailable, lost, again, unique bool
	}{
		"53100": {unavailable: true}, // disk full
		"53200": {unavailable: true}, // out of memory
		"53300": {unavailable: true}, // too many connections
		"57P01": {unavailable: true, lost: true},
		"57P02": {unavailable: true, lost: true},
		"57P03": {unavailable: true, lost: true}, // starting up
		"08006": {unavailable: true, lost: true},
		"58030": {unavailable: true, lost: true}, // input or output error
		"57014": {unavailable: true},             // statement_timeout
		"55P03": {unavailable: true},
		"25006": {unavailable: true},
		"40001": {unavailable: true, again: true},
		"40P01": {unavailable: true, again: true},
		"23505": {unique: true},
		"23503": {},
		"42601": {},
		"22P02": {},
		"":      {},
	} {
		t.Run(state, func(t *testing.T) {
			cause := &pgconn.PgError{Code: state, Message: "Maria"}
			err := fmt.Errorf("insert item: %w", translatePostgres(cause))
			require.Equal(t, want.unavailable, errors.Is(err, ErrUnavailable))
			require.Equal(t, want.lost, wasLost(err))
			require.Equal(t, want.again, mayRunAgain(err))
			require.Equal(t, want.unique, IsUnique(err))
			require.ErrorIs(t, err, cause, "the cause is kept")
			require.Equal(t, want.lost, errors.Is(lostInFlight(err), ErrUnknownOutcome))
		})
	}
	require.ErrorIs(t, lostInFlight(&pgconn.PgError{Code: codeUnknownCompletion}), ErrUnknownOutcome)
}

func TestMeaningOfNetworkErrors(t *testing.T) {
	for _, err := range []error{
		io.ErrUnexpectedEOF, io.EOF, net.ErrClosed, pgconn.ErrConnClosed, &net.OpError{Op: "read", Err: errors.New("reset")},
	} {
		translated := translatePostgres(err)
		require.ErrorIs(t, translated, ErrUnavailable)
		require.ErrorIs(t, translated, err)
		require.True(t, wasLost(translated))
	}
	for _, err := range []error{nil, context.Canceled, context.DeadlineExceeded, errors.New("other")} {
		require.Equal(t, err, translatePostgres(err))
	}
	require.ErrorIs(t, lostInFlight(context.Canceled), ErrUnknownOutcome, "the driver breaks the connection")
	require.ErrorIs(t, lostInFlight(context.Canceled), context.Canceled)
	require.NoError(t, lostInFlight(nil))
}
