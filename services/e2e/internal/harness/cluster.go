package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
)

// Roles are the roles of Prosa, those that others call first.
var Roles = []string{"accounts", "contacts", "agent", "channel", "gateway"}

// Cluster is Prosa in one process, in one a role, or in several a role.
type Cluster struct {
	// HTTP is the base URL of the gateway, of the last one where there are several.
	HTTP string
	// Gateways are the base URLs of all of them.
	Gateways []string

	processes []*Process
	names     *names // nil unless there are several processes a role
}

// StartTogether starts all roles in one process.
func StartTogether(ctx context.Context, binary string, settings map[string]string) (*Cluster, error) {
	process, err := Start(ctx, Spec{Binary: binary, Settings: settings})
	if err != nil {
		return nil, err
	}
	return &Cluster{HTTP: process.HTTP, Gateways: []string{process.HTTP}, processes: []*Process{process}}, nil
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
		if err := cluster.launch(Spec{Binary: binary, Roles: []string{role}, Settings: own}); err != nil {
			return nil, err
		}
	}
	return cluster, cluster.begin(ctx)
}

// StartReplicated starts so many processes a role, on PostgreSQL. Those of one
// role listen on the same port of different addresses, and have one name,
// RoleName. Without certificates in the settings they do without TLS.
func StartReplicated(ctx context.Context, binary string, settings map[string]string, replicas int) (*Cluster, error) {
	var hosts []string
	for i := range replicas {
		hosts = append(hosts, fmt.Sprintf("127.0.0.%d", 2+i))
	}
	served, err := newNames(hosts)
	if err != nil {
		return nil, err
	}
	cluster := &Cluster{names: served}
	shared := maps.Clone(settings)
	if shared["tls-cert"] == "" {
		shared["insecure-internal"] = "true"
	}
	ports := map[string]string{}
	for _, role := range Roles {
		addr, err := FreeAddr()
		if err != nil {
			return nil, errors.Join(err, cluster.Stop())
		}
		if _, ports[role], err = net.SplitHostPort(addr); err != nil {
			return nil, errors.Join(err, cluster.Stop())
		}
		if role != "gateway" {
			shared[role+"-target"] = served.target(role, ports[role])
		}
	}
	for _, role := range Roles {
		for _, host := range hosts {
			own := maps.Clone(shared)
			own["grpc-addr"] = net.JoinHostPort(host, ports[role])
			if err := cluster.launch(Spec{Binary: binary, Roles: []string{role}, Settings: own}); err != nil {
				return nil, err
			}
		}
	}
	return cluster, cluster.begin(ctx)
}

// launch starts one process more. An error ends all of them.
func (c *Cluster) launch(spec Spec) error {
	process, err := Launch(spec)
	if err != nil {
		return errors.Join(err, c.Stop())
	}
	c.processes = append(c.processes, process)
	if slices.Contains(spec.Roles, "gateway") {
		c.HTTP = process.HTTP
		c.Gateways = append(c.Gateways, process.HTTP)
	}
	return nil
}

// begin waits until all are ready. An error ends them.
func (c *Cluster) begin(ctx context.Context) error {
	if err := c.WaitReady(ctx); err != nil {
		output := c.Output()
		return errors.Join(fmt.Errorf("%w\n%s", err, output), c.Stop())
	}
	return nil
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

// Of gives the processes of a role; they change as processes are started again.
func (c *Cluster) Of(role string) (processes []*Process) {
	for _, process := range c.processes {
		if len(process.spec.Roles) == 0 || slices.Contains(process.spec.Roles, role) {
			processes = append(processes, process)
		}
	}
	return processes
}

// Replace starts a process again that was killed, and waits until it is ready.
func (c *Cluster) Replace(ctx context.Context, killed *Process) error {
	index := slices.Index(c.processes, killed)
	if index < 0 {
		return errors.New("replace process: it is none of the cluster's")
	}
	if err := c.KillAndRestart(index); err != nil {
		return err
	}
	return c.processes[index].WaitReady(ctx)
}

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

// Restart stops a process as an operator does (SIGTERM), starts it again on the
// same addresses and data, and waits until it is ready.
func (c *Cluster) Restart(ctx context.Context, index int) error {
	return c.Upgrade(ctx, index, c.processes[index].spec.Binary)
}

// Upgrade is Restart with another binary.
func (c *Cluster) Upgrade(ctx context.Context, index int, binary string) error {
	if err := c.processes[index].Stop(); err != nil {
		return err
	}
	spec := c.processes[index].spec
	spec.Binary = binary
	process, err := Launch(spec)
	if err != nil {
		return err
	}
	c.processes[index] = process
	return process.WaitReady(ctx)
}

// Stop stops every process, callers before those whom they call.
func (c *Cluster) Stop() error {
	var errs []error
	for _, process := range slices.Backward(c.processes) {
		errs = append(errs, process.Stop())
	}
	if c.names != nil {
		c.names.close()
		c.names = nil
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
