package app

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/gateway"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

func TestReadiness(t *testing.T) {
	starting := gateway.Problem{Component: "process", Missing: "the process is starting"}
	stopping := gateway.Problem{Component: "process", Missing: "the process is stopping"}
	old := storeProblem(roleChannel, errors.Join(sqldb.ErrSchemaOld))
	gone := storeProblem(roleAgent, errors.New("dial tcp 10.0.0.7:5432: connection refused"))
	require.Equal(t, "prosa migrate", old.Remedy)
	require.Equal(t, gateway.Problem{Component: "agent", Missing: "the store does not answer"}, gone, "no host is named")

	var answer error
	r := &readiness{}
	r.watch("contacts", func(ctx context.Context) error {
		_, bounded := ctx.Deadline()
		require.True(t, bounded)
		return answer
	})
	require.Equal(t, []gateway.Problem{starting}, r.problems(t.Context()), "nothing is asked before the start")
	require.True(t, r.lack(old), "news")
	require.False(t, r.lack(old), "no news")
	require.True(t, r.lack(gone))
	require.Equal(t, []gateway.Problem{gone, old, starting}, r.problems(t.Context()))
	r.settle(roleAgent)
	r.settle(roleChannel)
	require.True(t, r.lack(old), "news again")
	r.settle(roleChannel)

	r.start()
	require.Empty(t, r.problems(t.Context()))
	answer = errNotAnswering
	require.Equal(t, []gateway.Problem{{Component: "contacts", Missing: "the role does not answer"}}, r.problems(t.Context()))
	answer = nil
	require.Empty(t, r.problems(t.Context()), "what comes back is ready again")

	r.leave()
	require.Equal(t, []gateway.Problem{stopping}, r.problems(t.Context()))
}
