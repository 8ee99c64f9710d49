package rpcquota_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/quota/quotatest"
	"github.com/prosa-chat/prosa/services/internal/quota/rpcquota"
	"github.com/prosa-chat/prosa/services/internal/validate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// meter answers what it is told, and keeps what it was asked.
type meter struct {
	asked  *accountsv1.TakeCallRequest
	answer *accountsv1.TakeCallResponse
	err    error
}

func (m *meter) TakeCall(_ context.Context, r *accountsv1.TakeCallRequest, _ ...grpc.CallOption) (*accountsv1.TakeCallResponse, error) {
	m.asked = r
	return m.answer, m.err
}

func TestTake(t *testing.T) {
	m := &meter{answer: &accountsv1.TakeCallResponse{Allowed: true, Day: 20_514, Used: 7, Recent: 3, ResetIn: durationpb.New(time.Millisecond)}}
	counter := rpcquota.New(m)
	limits := quota.Limits{PerSecond: quota.MaxPerSecond, PerDay: quota.MaxPerDay}
	ask := quota.Ask{Subject: quotatest.Key("1"), Limits: limits, Day: 20_513, Floor: 4, Add: 2}
	tally, err := counter.Take(t.Context(), ask)
	require.NoError(t, err)
	require.Equal(t, quota.Tally{Allowed: true, Day: 20_514, Used: 7, Recent: 3, Reset: time.Millisecond}, tally)
	require.True(t, proto.Equal(&accountsv1.TakeCallRequest{
		Instance: "acme", KeyId: ask.Key, Kind: "contacts", PerSecond: 1000, PerDay: 1_000_000_000, Day: 20_513, Floor: 4, Add: 2,
	}, m.asked))
	require.NoError(t, validate.Request(m.asked), "the contract takes the highest limits")

	m.answer = &accountsv1.TakeCallResponse{Day: 20_513, Used: 1}
	tally, err = counter.Take(t.Context(), ask)
	require.NoError(t, err)
	require.Equal(t, quota.Tally{Day: 20_513, Used: 1}, tally)

	m.err = status.Error(codes.Unavailable, "gone")
	_, err = counter.Take(t.Context(), ask)
	require.ErrorContains(t, err, "have accounts count a call")
	require.Equal(t, codes.Unavailable, status.Code(err))
}
