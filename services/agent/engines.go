package agent

import (
	"fmt"
	"math/rand/v2"

	"github.com/prosa-chat/prosa/services/agent/internal/model"
	"github.com/prosa-chat/prosa/services/agent/internal/remote"
	"github.com/prosa-chat/prosa/services/agent/internal/secret"
	"github.com/prosa-chat/prosa/services/internal/egress"
)

// newModels is what asks models.
func newModels(deps Deps, vault *secret.Vault) (*model.Client, error) {
	metrics, err := model.NewMetrics(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register metrics of agent: %w", err)
	}
	return model.NewClient(model.Deps{
		HTTP: deps.Guard.Client(egress.Options{}), Secrets: vault, Clock: deps.Clock, Jitter: rand.Float64, Metrics: metrics,
	}), nil
}

// newRemotes keeps the connections to the programs of teams.
func newRemotes(deps Deps, vault *secret.Vault) *remote.Pool {
	return remote.NewPool(remote.Deps{Guard: deps.Guard, Secrets: vault, Clock: deps.Clock})
}
