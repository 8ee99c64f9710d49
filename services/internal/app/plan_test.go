package app

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/config"
)

func TestPlan(t *testing.T) {
	inTheClear := config.Settings{InsecureInternal: true}
	targets := func(s config.Settings, names ...string) config.Settings {
		for _, name := range names {
			switch name {
			case roleAccounts:
				s.AccountsTarget = "dns:///accounts:9090"
			case roleChannel:
				s.ChannelTarget = "dns:///channel:9090"
			case roleContacts:
				s.ContactsTarget = "dns:///contacts:9090"
			case roleAgent:
				s.AgentTarget = "dns:///agent:9090"
			}
		}
		return s
	}
	tests := []struct {
		name          string
		roles         []string
		settings      config.Settings
		local, remote []string
		stores        bool
		faults        []string
	}{
		{name: "none is all", local: roles, stores: true},
		{name: "all, in any order, and twice", roles: []string{"gateway", "agent", "channel", "accounts", "contacts", "agent"}, local: roles, stores: true},
		{name: "accounts calls nobody", roles: []string{"accounts"}, settings: inTheClear, local: []string{"accounts"}, stores: true},
		{name: "contacts", roles: []string{"contacts"}, settings: targets(inTheClear, "accounts"), local: []string{"contacts"}, remote: []string{"accounts"}, stores: true},
		{name: "agent", roles: []string{"agent"}, settings: targets(inTheClear, "accounts", "contacts"),
			local: []string{"agent"}, remote: []string{"accounts", "contacts"}, stores: true},
		{name: "channel", roles: []string{"channel"}, settings: targets(inTheClear, "accounts", "agent"),
			local: []string{"channel"}, remote: []string{"accounts", "agent"}, stores: true},
		{name: "gateway keeps nothing", roles: []string{"gateway"}, settings: targets(inTheClear, "accounts", "contacts", "agent", "channel"),
			local: []string{"gateway"}, remote: []string{"accounts", "contacts", "agent", "channel"}},
		{name: "with certificates", roles: []string{"accounts"}, settings: config.Settings{TLSCert: "c", TLSKey: "k", TLSCA: "a"},
			local: []string{"accounts"}, stores: true},
		{name: "a target that is not needed is ignored", settings: targets(config.Settings{}, "agent"), local: roles, stores: true},
		{name: "unknown role", roles: []string{"accounts", "nobody"}, settings: inTheClear, faults: []string{"no such role: nobody"}},
		{name: "in the clear by accident", roles: []string{"accounts"}, faults: []string{"tls-cert"}},
		{name: "all faults at once", roles: []string{"gateway", "nobody"},
			faults: []string{"no such role: nobody", "accounts-target", "contacts-target", "agent-target", "channel-target", "tls-cert"}},
		{name: "one target is missing", roles: []string{"channel"}, settings: targets(inTheClear, "accounts"), faults: []string{"agent-target"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := newPlan(Options{Settings: test.settings, Roles: test.roles})
			if len(test.faults) > 0 {
				for _, fault := range test.faults {
					require.ErrorContains(t, err, fault)
				}
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.local, p.local)
			require.Equal(t, test.remote, p.remote)
			require.Equal(t, test.stores, p.stores())
		})
	}
}

// Every role that has a store must be migrated, and every role must know whom
// it calls.
func TestRolesAreKnownEverywhere(t *testing.T) {
	for _, role := range roles {
		require.NotEmpty(t, calls[role], role)
		require.Equal(t, role != roleGateway, migrations[role] != nil, role)
		for i, called := range roles {
			if called != role && slices.Contains(calls[role], called) {
				require.Less(t, i, slices.Index(roles, role), "%s starts after %s, which it calls", role, called)
			}
		}
	}
}
