package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Roles are the roles of Prosa, those that others call first.
var Roles = []string{"accounts", "contacts", "agent", "channel", "gateway"}

// Cluster is Prosa in one process or in one a role.
type Cluster struct {
	// HTTP is the base URL of the gateway.
	HTTP string

	processes []*Process
}

// StartTogether starts all roles in one process.
func StartTogether(ctx context.Context, binary string, settings map[string]string) (*Cluster, error) {
	process, err := Start(ctx, Spec{Binary: binary, Settings: settings})
	if err != nil {
		return nil, err
	}
	return &Cluster{HTTP: process.HTTP, processes: []*Process{process}}, nil
}

// StartApart starts a process a role, as `prosa serve ROLE`.
func StartApart(ctx context.Context, binary string, settings map[string]string) (*Cluster, error) {
	addrs, shared := map[string]string{}, maps.Clone(settings)
	for _, role := range Roles {
		addr, err := FreeAddr()
		if err != nil {
			return nil, err
		}
		addrs[role] = addr
		if role != "gateway" {
			shared[role+"-target"] = addr
		}
	}
	shared["insecure-internal"] = "true"
	cluster := &Cluster{}
	for _, role := range Roles {
		own := maps.Clone(shared)
		own["grpc-addr"] = addrs[role]
		process, err := Launch(Spec{Binary: binary, Roles: []string{role}, Settings: own})
		if err != nil {
			return nil, errors.Join(err, cluster.Stop())
		}
		cluster.processes = append(cluster.processes, process)
		cluster.HTTP = process.HTTP // the gateway is the last
	}
	if err := cluster.WaitReady(ctx); err != nil {
		output := cluster.Output()
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, output), cluster.Stop())
	}
	return cluster, nil
}

// WaitReady waits until every process is ready.
func (c *Cluster) WaitReady(ctx context.Context) error {
	for _, process := range c.processes {
		if err := process.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Size is how many processes there are.
func (c *Cluster) Size() int { return len(c.processes) }

// KillAndRestart kills a process (kill -9) and starts it again on the same
// addresses and data. It does not wait until it is ready.
func (c *Cluster) KillAndRestart(index int) error {
	c.processes[index].Kill()
	process, err := c.processes[index].Again()
	if err != nil {
		return err
	}
	c.processes[index] = process
	return nil
}

// Stop stops every process, callers before those whom they call.
func (c *Cluster) Stop() error {
	var errs []error
	for _, process := range slices.Backward(c.processes) {
		errs = append(errs, process.Stop())
	}
	return errors.Join(errs...)
}

// Output is the end of what the processes wrote.
func (c *Cluster) Output() string {
	var output string
	for _, process := range c.processes {
		output += process.Output()
	}
	return output
}
