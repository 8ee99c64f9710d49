package app

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/prosa-chat/prosa/services/gateway"
)

// What is wrong with a role elsewhere. Not the cause: it would name hosts.
var (
	errNotAnswering = errors.New("the role does not answer")
	errNotServing   = errors.New("the role is not serving yet")
	errNoStore      = errors.New("the store does not answer")
)

// checkWithin is how long one check of a store or role may take.
const checkWithin = 2 * time.Second

// readiness knows what is missing before the process can do its work.
type readiness struct {
	mu      sync.Mutex
	started bool
	leaving bool
	lacking map[string]gateway.Problem
	checks  []check
}

// check asks one thing that may come and go: a store, a role elsewhere.
type check struct {
	name string
	ask  func(ctx context.Context) error
}

// lack says that something is missing; it gives true when that is news.
func (r *readiness) lack(problem gateway.Problem) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lacking == nil {
		r.lacking = map[string]gateway.Problem{}
	}
	news := r.lacking[problem.Component] != problem
	r.lacking[problem.Component] = problem
	return news
}

// settle says that something is no longer missing.
func (r *readiness) settle(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.lacking, name)
}

// watch adds something that is asked whenever somebody asks for readiness.
func (r *readiness) watch(name string, ask func(ctx context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checks = append(r.checks, check{name: name, ask: ask})
}

// start says that everything was started.
func (r *readiness) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started = true
}

// leave says that the process is going away.
func (r *readiness) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaving = true
}

// problems are what is missing now, by name; none means ready.
func (r *readiness) problems(ctx context.Context) []gateway.Problem {
	r.mu.Lock()
	lacking := maps.Clone(r.lacking)
	started, leaving, checks := r.started, r.leaving, slices.Clone(r.checks)
	r.mu.Unlock()

	var found []gateway.Problem
	for _, name := range slices.Sorted(maps.Keys(lacking)) {
		found = append(found, lacking[name])
	}
	switch {
	case leaving:
		return append(found, gateway.Problem{Component: "process", Missing: "the process is stopping"})
	case !started:
		return append(found, gateway.Problem{Component: "process", Missing: "the process is starting"})
	}
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	for _, check := range checks {
		if err := check.ask(ctx); err != nil {
			found = append(found, gateway.Problem{Component: check.name, Missing: err.Error()})
		}
	}
	return found
}

// askHealth asks a role elsewhere by the gRPC health protocol.
func askHealth(conn grpc.ClientConnInterface) func(ctx context.Context) error {
	client := grpc_health_v1.NewHealthClient(conn)
	return func(ctx context.Context) error {
		answer, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			return errNotAnswering
		}
		if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			return errNotServing
		}
		return nil
	}
}
