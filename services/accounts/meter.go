package accounts

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/accounts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Counts is where the calls of keys are counted, and can be read.
type Counts interface {
	quota.Counter
	quota.Reader
}

// countsIn are the counts of a service that is given no others: in PostgreSQL for all processes; with the embedded store, which has
// one process, in memory over a ledger on disk.
func countsIn(db *sqldb.DB, c clock.Clock) Counts {
	if db.Dialect() == sqldb.Postgres {
		return store.NewSharedCounter(db, nil)
	}
	return quota.NewLocal(store.NewLedger(db), c)
}

// meterServer is MeterService.
type meterServer struct {
	accountsv1.UnimplementedMeterServiceServer
	counts Counts
}

// TakeCall counts a call, if the limits allow it.
func (s *meterServer) TakeCall(ctx context.Context, r *accountsv1.TakeCallRequest) (*accountsv1.TakeCallResponse, error) {
	tally, err := s.counts.Take(ctx, quota.Ask{
		Subject: quota.Subject{Instance: r.GetInstance(), Key: r.GetKeyId(), Kind: r.GetKind()},
		Limits:  quota.Limits{PerSecond: int(r.GetPerSecond()), PerDay: int(r.GetPerDay())},
		Day:     r.GetDay(), Floor: r.GetFloor(), Add: r.GetAdd(),
	})
	if err != nil {
		return nil, countsError(err)
	}
	response := &accountsv1.TakeCallResponse{Allowed: tally.Allowed, Day: tally.Day, Used: tally.Used, Recent: int32(tally.Recent)}
	if tally.Reset > 0 {
		response.ResetIn = durationpb.New(tally.Reset)
	}
	return response, nil
}

// countsError is the error of a call that needs the counts. Whatever keeps them from being reached may pass.
func countsError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return rpcerr.FromStore(err)
	}
	return rpcerr.Unavailable(err)
}

const (
	meterWorker = "accounts-meter"
	// lastCountsTimeout is for writing the counts after the soft stop.
	lastCountsTimeout = 5 * time.Second
)

// countsCloser is a worker that does nothing until the end, and then has the counts written.
type countsCloser struct{ counts *quota.Local }

// Name is the worker's name.
func (countsCloser) Name() string { return meterWorker }

// Run waits for the end and closes the counts.
func (w countsCloser) Run(ctx context.Context) error {
	<-ctx.Done()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCountsTimeout)
	defer cancel()
	return w.counts.Close(last)
}
