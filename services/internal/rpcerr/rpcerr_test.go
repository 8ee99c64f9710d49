package rpcerr_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errNotFound = rpcerr.New(codes.NotFound, channelv1.ErrorReason_ERROR_REASON_CHANNEL_NOT_FOUND, "no such channel", "id", "c1")

func TestStatusHasReasonDomainAndMetadata(t *testing.T) {
	st, ok := status.FromError(errNotFound)
	require.True(t, ok)
	require.Equal(t, codes.NotFound, st.Code())
	require.Equal(t, "no such channel", st.Message())
	require.Len(t, st.Details(), 1)
	info := st.Details()[0].(*errdetails.ErrorInfo)
	require.Equal(t, "CHANNEL_NOT_FOUND", info.GetReason())
	require.Equal(t, "prosa.channel.v1", info.GetDomain())
	require.Equal(t, map[string]string{"id": "c1"}, info.GetMetadata())
	require.Equal(t, map[string]string{"id": "c1"}, rpcerr.Metadata(st))
}

func TestOddMetadataAndUnknownReasonDoNoHarm(t *testing.T) {
	err := rpcerr.New(codes.NotFound, channelv1.ErrorReason(9999), "?", "id")
	require.Empty(t, err.Reason())
	require.Empty(t, err.GRPCStatus().Details())
	err = rpcerr.New(codes.NotFound, channelv1.ErrorReason_ERROR_REASON_CHANNEL_NOT_FOUND, "?", "a", "1", "b")
	require.Equal(t, map[string]string{"a": "1", "b": ""}, rpcerr.Metadata(err.GRPCStatus()))
}

func TestMessageThatIsNotTextStillHasItsCode(t *testing.T) {
	st := rpcerr.New(codes.NotFound, channelv1.ErrorReason_ERROR_REASON_CHANNEL_NOT_FOUND, "no \xff").GRPCStatus()
	require.Equal(t, codes.NotFound, st.Code())
}

func TestCauseIsForTheLogOnly(t *testing.T) {
	cause := errors.New("pq: relation does not exist")
	err := errNotFound.WithCause(cause)
	require.ErrorIs(t, err, cause)
	require.Contains(t, err.Error(), "pq:")
	require.NotContains(t, err.GRPCStatus().Proto().String(), "pq:")
	require.NoError(t, errNotFound.Unwrap(), "With must not change the original")
}

func TestWithMethodsDoNotChangeTheOriginal(t *testing.T) {
	base := rpcerr.Invalid(rpcerr.Violation{Field: "a", Reason: "1"})
	one := base.WithViolations(rpcerr.Violation{Field: "b", Reason: "2"})
	two := base.WithViolations(rpcerr.Violation{Field: "c", Reason: "3"})
	require.Equal(t, []rpcerr.Violation{{Field: "a", Reason: "1"}, {Field: "b", Reason: "2"}}, rpcerr.Violations(one.GRPCStatus()))
	require.Equal(t, []rpcerr.Violation{{Field: "a", Reason: "1"}, {Field: "c", Reason: "3"}}, rpcerr.Violations(two.GRPCStatus()))
	require.Len(t, rpcerr.Violations(base.GRPCStatus()), 1)

	more := errNotFound.WithMetadata("request_id", "r1")
	require.Equal(t, map[string]string{"id": "c1", "request_id": "r1"}, rpcerr.Metadata(more.GRPCStatus()))
	require.Equal(t, map[string]string{"id": "c1"}, rpcerr.Metadata(errNotFound.GRPCStatus()))
}

func TestIsComparesReasons(t *testing.T) {
	wrapped := fmt.Errorf("find channel: %w", errNotFound.WithMetadata("id", "other"))
	require.ErrorIs(t, wrapped, errNotFound)
	require.NotErrorIs(t, wrapped, rpcerr.Internal(nil))
	require.NotErrorIs(t, rpcerr.New(codes.Unknown, accountsv1.ErrorReason(9999), ""), rpcerr.New(codes.Unknown, accountsv1.ErrorReason(9998), ""))
}

func TestReadersSeeTheSameHereAndAtTheFarEnd(t *testing.T) {
	local := errNotFound.WithRetryAfter(1500 * time.Millisecond)
	for name, err := range map[string]error{
		"local": local, "wrapped": fmt.Errorf("x: %w", local), "far": local.GRPCStatus().Err(), "far, wrapped": fmt.Errorf("x: %w", local.GRPCStatus().Err()),
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, "CHANNEL_NOT_FOUND", rpcerr.Reason(err))
			require.Equal(t, codes.NotFound, rpcerr.Code(err))
			after, ok := rpcerr.RetryAfter(err)
			require.True(t, ok)
			require.Equal(t, 1500*time.Millisecond, after)
		})
	}
	for name, err := range map[string]error{"nil": nil, "plain": errors.New("x"), "bare status": status.Error(codes.NotFound, "x")} {
		t.Run(name, func(t *testing.T) {
			require.Empty(t, rpcerr.Reason(err))
			_, ok := rpcerr.RetryAfter(err)
			require.False(t, ok)
		})
	}
	require.Equal(t, codes.OK, rpcerr.Code(nil))
	require.Equal(t, codes.Unknown, rpcerr.Code(errors.New("x")))
	require.Equal(t, codes.NotFound, rpcerr.Code(status.Error(codes.NotFound, "x")))
	require.Nil(t, rpcerr.Violations(status.New(codes.OK, "")))
	require.Nil(t, rpcerr.Violations(nil))
}

func TestFromStore(t *testing.T) {
	tests := map[string]struct {
		err    error
		code   codes.Code
		reason string
		retry  bool
	}{
		"own error, wrapped": {fmt.Errorf("x: %w", errNotFound), codes.NotFound, "CHANNEL_NOT_FOUND", false},
		"unavailable":        {fmt.Errorf("x: %w", sqldb.ErrUnavailable), codes.Unavailable, "UNAVAILABLE", true},
		"closed":             {sqldb.ErrClosed, codes.Unavailable, "UNAVAILABLE", true},
		"unknown outcome":    {fmt.Errorf("x: %w", sqldb.ErrUnknownOutcome), codes.Unavailable, "UNAVAILABLE", true},
		"store outlived":     {errors.Join(sqldb.ErrUnknownOutcome, context.Canceled), codes.Unavailable, "UNAVAILABLE", true},
		"deadline":           {fmt.Errorf("x: %w", context.DeadlineExceeded), codes.DeadlineExceeded, "UNAVAILABLE", false},
		"cancelled":          {context.Canceled, codes.Canceled, "UNAVAILABLE", false},
		"anything":           {errors.New("syntax error in SQL"), codes.Internal, "INTERNAL", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := rpcerr.FromStore(test.err)
			require.Equal(t, test.code, status.Code(err))
			require.Equal(t, test.reason, rpcerr.Reason(err))
			after, retry := rpcerr.RetryAfter(err)
			require.Equal(t, test.retry, retry)
			if retry {
				require.Equal(t, time.Second, after)
			}
			require.NotContains(t, status.Convert(err).Message(), "x:")
			require.NotContains(t, status.Convert(err).Message(), "SQL")
		})
	}
	require.NoError(t, rpcerr.FromStore(nil))
}

func TestFromPeerHandsOnWhatIsKnownOnly(t *testing.T) {
	known := rpcerr.New(codes.NotFound, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_NOT_FOUND, "here")
	other := rpcerr.New(codes.FailedPrecondition, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_EXISTS, "elsewhere")
	far := func(e *rpcerr.Error) error { return fmt.Errorf("call agent: %w", e.GRPCStatus().Err()) }
	require.NoError(t, rpcerr.FromPeer(nil, known))
	require.Same(t, known, rpcerr.FromPeer(far(rpcerr.New(codes.NotFound, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_NOT_FOUND, "there")), other, known))
	for code, want := range map[codes.Code]codes.Code{
		codes.Unavailable: codes.Unavailable, codes.DeadlineExceeded: codes.Unavailable, codes.Canceled: codes.Unavailable,
		codes.Aborted: codes.Unavailable, codes.ResourceExhausted: codes.Unavailable,
		codes.NotFound: codes.Internal, codes.InvalidArgument: codes.Internal, codes.Unknown: codes.Internal,
	} {
		err := fmt.Errorf("call agent: %w", status.Error(code, "dial tcp 10.0.0.7"))
		got := rpcerr.FromPeer(err, known)
		require.Equal(t, want, rpcerr.Code(got), code)
		require.ErrorIs(t, got, err, "the cause stays, for the log")
		require.NotContains(t, status.Convert(got).Message(), "10.0.0.7")
	}
}
