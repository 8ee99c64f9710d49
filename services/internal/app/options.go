// Package app puts Prosa together: which roles run in a process, what each
// needs, in which order everything starts and stops.
package app

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/prosa-chat/prosa/services/internal/config"
)

// Options say what a process is to be.
type Options struct {
	// Settings are what the operator decides.
	Settings config.Settings
	// Roles are the roles to run. None means all.
	Roles []string
	// Version is shown to receivers of webhooks.
	Version string
	// Log is where the log goes; Terminal says that a person reads it.
	Log      io.Writer
	Terminal bool
	// RootKeyMade is told the root key that was made at this start. Optional.
	RootKeyMade func(key string)
	// Ready is called once, when everything serves. Optional.
	Ready func(Running)
}

// Running is what is known of a process that serves.
type Running struct {
	// HTTPAddr is where the gateway listens, empty without that role.
	HTTPAddr string
	// GRPCAddr and MetricsAddr are where the services and health listen.
	GRPCAddr, MetricsAddr string
	// RootKey is the root key, empty without the role accounts.
	RootKey string
}

// The roles of a process.
const (
	roleAccounts = "accounts"
	roleContacts = "contacts"
	roleAgent    = "agent"
	roleChannel  = "channel"
	roleGateway  = "gateway"
)

// roles are all roles, each after those that it calls, which is the order of
// starting.
var roles = []string{roleAccounts, roleContacts, roleAgent, roleChannel, roleGateway}

// calls says which roles each role calls. Every role asks accounts whose a key
// is.
var calls = map[string][]string{
	roleAccounts: {roleAccounts},
	roleContacts: {roleAccounts},
	roleAgent:    {roleAccounts, roleContacts},
	roleChannel:  {roleAccounts, roleAgent},
	roleGateway:  {roleAccounts, roleContacts, roleAgent, roleChannel},
}

// plan is which roles run here and which elsewhere.
type plan struct {
	local  []string
	remote []string
}

// newPlan checks that every role that is called runs here or has a target, and
// that processes do not talk in the clear by accident.
func newPlan(o Options) (plan, error) {
	p := plan{}
	wanted := o.Roles
	if len(wanted) == 0 {
		wanted = roles
	}
	var faults []error
	for _, role := range wanted {
		if !slices.Contains(roles, role) {
			faults = append(faults, fmt.Errorf("no such role: %s", role))
		}
	}
	for _, role := range roles {
		if slices.Contains(wanted, role) {
			p.local = append(p.local, role)
		}
	}
	for _, role := range roles {
		called := slices.ContainsFunc(p.local, func(caller string) bool { return slices.Contains(calls[caller], role) })
		if !called || p.runs(role) {
			continue
		}
		p.remote = append(p.remote, role)
		if o.Settings.Target(role) == "" {
			faults = append(faults, fmt.Errorf("%s-target: is required because the role %s does not run in this process", role, role))
		}
	}
	apart := len(p.local) < len(roles)
	if apart && o.Settings.TLSCert == "" && !o.Settings.InsecureInternal {
		faults = append(faults, errors.New("roles in several processes need tls-cert, tls-key and tls-ca; insecure-internal lets them talk without, on a network that nobody else reaches"))
	}
	return p, errors.Join(faults...)
}

// stores says that a role of this process has a store.
func (p plan) stores() bool {
	return slices.ContainsFunc(p.local, func(role string) bool { return migrations[role] != nil })
}

// runs says that a role runs in this process.
func (p plan) runs(role string) bool { return slices.Contains(p.local, role) }
