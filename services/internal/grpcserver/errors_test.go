package grpcserver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/grpcserver"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

var errCause = errors.New("SELECT * FROM instances at 10.0.0.7")

func TestErrorMasking(t *testing.T) {
	notFound := rpcerr.New(codes.NotFound, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_NOT_FOUND, "no such instance", "instance", "acme")
	tests := map[string]struct {
		err    error
		code   codes.Code
		reason string
		logged bool // the cause
		id     bool // the request id is in the answer
	}{
		"domain error":              {notFound.WithCause(errCause), codes.NotFound, "INSTANCE_NOT_FOUND", false, false},
		"domain error, wrapped":     {fmt.Errorf("%w: %w", errCause, notFound), codes.NotFound, "INSTANCE_NOT_FOUND", false, false},
		"plain error":               {errCause, codes.Internal, "INTERNAL", true, true},
		"internal with its message": {rpcerr.New(codes.Internal, accountsv1.ErrorReason_ERROR_REASON_INTERNAL, errCause.Error()), codes.Internal, "INTERNAL", true, true},
		"unknown":                   {rpcerr.New(codes.Unknown, accountsv1.ErrorReason_ERROR_REASON_UNSPECIFIED, errCause.Error()), codes.Internal, "INTERNAL", true, true},
		"error that says OK":        {rpcerr.New(codes.OK, accountsv1.ErrorReason_ERROR_REASON_UNSPECIFIED, errCause.Error()), codes.Internal, "INTERNAL", true, true},
		"store down":                {fmt.Errorf("%w: %w", errCause, sqldb.ErrUnavailable), codes.Unavailable, "UNAVAILABLE", true, true},
		"deadline":                  {fmt.Errorf("%w: %w", errCause, context.DeadlineExceeded), codes.DeadlineExceeded, "UNAVAILABLE", true, true},
		"cancelled":                 {fmt.Errorf("%w: %w", errCause, context.Canceled), codes.Canceled, "UNAVAILABLE", false, false},
		"far internal":              {status.Error(codes.Internal, errCause.Error()), codes.Internal, "INTERNAL", true, true},
		"far not found, not known": {fmt.Errorf("lookup: %w", rpcerr.New(codes.NotFound, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_NOT_FOUND, errCause.Error()).GRPCStatus().Err()),
			codes.Internal, "INTERNAL", true, true},
		"far not found, known": {rpcerr.FromPeer(notFound.GRPCStatus().Err(), notFound), codes.NotFound, "INSTANCE_NOT_FOUND", false, false},
		"far unavailable":      {status.Error(codes.Unavailable, errCause.Error()), codes.Unavailable, "UNAVAILABLE", true, true},
		"far limit":            {status.Error(codes.ResourceExhausted, errCause.Error()), codes.Unavailable, "UNAVAILABLE", true, true},
		"far deadline":         {status.Error(codes.DeadlineExceeded, errCause.Error()), codes.DeadlineExceeded, "UNAVAILABLE", true, true},
		"far cancelled":        {status.Error(codes.Canceled, errCause.Error()), codes.Canceled, "UNAVAILABLE", false, false},
		"not implemented":      {status.Error(codes.Unimplemented, errCause.Error()), codes.Unimplemented, "UNSPECIFIED", false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.handle(func(context.Context) error { return test.err })
			check := func(t *testing.T, requestID string, err error) {
				t.Helper()
				require.Equal(t, test.code, status.Code(err))
				require.Equal(t, test.reason, rpcerr.Reason(err))
				require.NotContains(t, status.Convert(err).Proto().String(), "10.0.0.7")
				got := rpcerr.Metadata(status.Convert(err))["request_id"]
				if test.id {
					require.Equal(t, requestID, got)
				} else {
					require.Empty(t, got)
				}
			}
			f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
				var header metadata.MD
				_, err := accountsv1.NewAccountsServiceClient(conn).GetInstance(with(t.Context(), "x-api-key", manageKey, "x-request-id", "r1"),
					&accountsv1.GetInstanceRequest{Instance: "acme"}, grpc.Header(&header))
				check(t, "r1", err)
			})
			f.streamsEverywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
				answers, _, err := callStream(with(t.Context(), "x-api-key", manageKey, "x-request-id", "r1"), conn, "GetInstance", &accountsv1.GetInstanceRequest{Instance: "acme"})
				require.Equal(t, 2, answers)
				check(t, "r1", err)
			})
			causes := 0
			for _, line := range f.log.lines(t) {
				if line["msg"] == "rpc failed" {
					causes++
					require.Equal(t, "r1", line["request_id"])
					require.Contains(t, line["error"], "10.0.0.7")
					require.Equal(t, "prosa.accounts.v1.AccountsService/GetInstance", line["method"])
				}
			}
			if test.logged {
				require.Equal(t, 4, causes)
			} else {
				require.Zero(t, causes)
			}
		})
	}
}

func TestPanics(t *testing.T) {
	for name, value := range map[string]any{"error": errCause, "text": "Maria's message at 10.0.0.7", "number": 7} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.handle(func(context.Context) error { panic(value) })
			f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
				_, err := accountsv1.NewAccountsServiceClient(conn).GetInstance(with(t.Context(), "x-api-key", manageKey), &accountsv1.GetInstanceRequest{Instance: "acme"})
				require.Equal(t, codes.Internal, status.Code(err))
				require.Equal(t, "INTERNAL", rpcerr.Reason(err))
				require.NotContains(t, status.Convert(err).Proto().String(), "10.0.0.7")
			})
			f.streamsEverywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
				_, _, err := callStream(with(t.Context(), "x-api-key", manageKey), conn, "GetInstance", &accountsv1.GetInstanceRequest{Instance: "acme"})
				require.Equal(t, "INTERNAL", rpcerr.Reason(err))
			})
			stacks, access := 0, 0
			for _, line := range f.log.lines(t) {
				if stack, ok := line["stack"].(string); ok {
					stacks++
					require.Contains(t, stack, "fixture_test.go", "the stack is that of the panic")
				}
				if line["msg"] == "rpc" && line["method"] == "prosa.accounts.v1.AccountsService/GetInstance" {
					access++
					require.Equal(t, "Internal", line["code"])
				}
			}
			require.Equal(t, 4, stacks)
			require.Equal(t, 4, access, "a call that panicked is in the access log")
			require.NotContains(t, f.log.text(), "Maria")
		})
	}
}

func TestPanicInALink(t *testing.T) {
	f := newFixture(t, func(d *grpcserver.ChainDeps) {
		d.Verifier = panickingVerifier{}
		d.Quotas = grpcserver.Quotas{Keeper: panickingKeeper{}, Contacts: quota.Limits{PerSecond: 1}}
	})
	f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		_, err := accountsv1.NewAccountsServiceClient(conn).GetInstance(with(t.Context(), "x-api-key", manageKey), &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.Equal(t, "INTERNAL", rpcerr.Reason(err))
	})
	f.streamsEverywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		_, _, err := callStream(with(t.Context(), "x-api-key", manageKey), conn, "GetInstance", &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.Equal(t, "INTERNAL", rpcerr.Reason(err))
	})
}

type panickingVerifier struct{}

func (panickingVerifier) Verify(context.Context, string) (auth.Principal, error) { panic(errCause) }

type panickingKeeper struct{}

func (panickingKeeper) Take(context.Context, quota.Subject, quota.Limits) (quota.Verdict, error) {
	panic(errCause)
}

// panickingLog panics at the first line: a link outside of error masking fails.
type panickingLog struct{ slog.Handler }

func (panickingLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "rpc" {
		panic(errCause)
	}
	return nil
}

func TestPanicInAnOuterLink(t *testing.T) {
	f := newFixture(t, func(d *grpcserver.ChainDeps) { d.Logger = slog.New(panickingLog{d.Logger.Handler()}) })
	f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		_, err := accountsv1.NewAccountsServiceClient(conn).GetInstance(with(t.Context(), "x-api-key", manageKey), &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.Equal(t, "INTERNAL", rpcerr.Reason(err))
	})
	f.streamsEverywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		_, _, err := callStream(with(t.Context(), "x-api-key", manageKey), conn, "GetInstance", &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.Equal(t, "INTERNAL", rpcerr.Reason(err))
	})
}

func TestAccessLogIsPinned(t *testing.T) {
	f := newFixture(t)
	accounts := accountsv1.NewAccountsServiceClient(f.inProcess(t).Public())
	ctx := with(t.Context(), "authorization", "Bearer "+manageKey, "x-request-id", "r1")
	f.handle(func(context.Context) error {
		f.clock.Advance(1500 * time.Microsecond)
		return nil
	})
	last := func() map[string]any {
		lines := f.log.lines(t)
		line := lines[len(lines)-1]
		delete(line, "time")
		return line
	}
	call := func(ctx context.Context, instance string) {
		_, _ = accounts.GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: instance})
	}
	const method = "prosa.accounts.v1.AccountsService/GetInstance"

	call(ctx, "acme")
	require.Equal(t, map[string]any{
		"level": "DEBUG", "msg": "rpc", "request_id": "r1", "method": method, "code": "OK", "duration_ms": 1.5,
		"caller": "key", "instance": "acme", "key_id": keyID,
	}, last())

	call(ctx, "somebody-elses")
	require.Equal(t, map[string]any{
		"level": "INFO", "msg": "rpc", "request_id": "r1", "method": method, "code": "NotFound", "duration_ms": 0.0,
		"caller": "key", "instance": "acme", "key_id": keyID, "reason": "INSTANCE_NOT_FOUND",
	}, last())

	call(with(t.Context(), "x-request-id", "r2"), "acme")
	require.Equal(t, map[string]any{
		"level": "INFO", "msg": "rpc", "request_id": "r2", "method": method, "code": "Unauthenticated", "duration_ms": 0.0,
		"caller": "unknown", "reason": "CREDENTIALS_MISSING",
	}, last())

	f.handle(func(context.Context) error { return sqldb.ErrUnavailable })
	call(with(t.Context(), "x-api-key", rootKey, "x-request-id", "r3"), "acme")
	require.Equal(t, map[string]any{
		"level": "WARN", "msg": "rpc", "request_id": "r3", "method": method, "code": "Unavailable", "duration_ms": 0.0,
		"caller": "root", "reason": "UNAVAILABLE",
	}, last())

	f.handle(func(context.Context) error { return errCause })
	call(ctx, "acme")
	require.Equal(t, "ERROR", last()["level"])
	for _, secret := range []string{manageKey, rootKey, "somebody-elses", "Bearer"} {
		require.NotContains(t, f.log.text(), secret)
	}
}

func TestTheLogIsBounded(t *testing.T) {
	f := newFixture(t)
	accounts := accountsv1.NewAccountsServiceClient(f.inProcess(t).Public())
	for range 250 {
		_, err := accounts.GetInstance(t.Context(), &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.Error(t, err)
	}
	require.Len(t, f.log.lines(t), 100)
	f.clock.Advance(time.Second)
	_, err := accounts.GetInstance(t.Context(), &accountsv1.GetInstanceRequest{Instance: "acme"})
	require.Error(t, err)
	lines := f.log.lines(t)
	require.Len(t, lines, 101)
	require.EqualValues(t, 150, lines[100]["suppressed"])
}
