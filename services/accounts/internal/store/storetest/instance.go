package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/accounts/internal/store"
)

func instanceIsKeptAsGiven(t *testing.T, f *fixture) {
	plain := instance("acme")
	full := instance("empresa")
	full.Retention = 3650 * 24 * time.Hour
	full.InactivityTimeout = time.Hour + time.Microsecond
	f.createInstance(t, plain)
	f.createInstance(t, full)

	for _, want := range []store.Instance{plain, full} {
		got, err := f.store.Instance(t.Context(), want.Slug)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := f.store.Instance(t.Context(), "nobody")
	require.ErrorIs(t, err, store.ErrInstanceNotFound)
	_, err = f.store.Instance(t.Context(), "ACME")
	require.ErrorIs(t, err, store.ErrInstanceNotFound, "slugs are compared with case")
}

func slugIsTakenOnce(t *testing.T, f *fixture) {
	f.createInstance(t, instance("acme"))
	second := instance("acme")
	second.DisplayName = "other"
	require.ErrorIs(t, f.tryInstance(t.Context(), second), store.ErrInstanceExists)

	got, err := f.store.Instance(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, instance("acme"), got)
}

func instancesAreListedInByteOrder(t *testing.T, f *fixture) {
	for _, slug := range []string{"b1", "a-z", "b-1", "az", "a0", "ab"} {
		f.createInstance(t, instance(slug))
	}
	var got []string
	after := ""
	for {
		page, err := f.store.Instances(t.Context(), after, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		require.LessOrEqual(t, len(page), 2)
		for _, i := range page {
			got = append(got, i.Slug)
		}
		after = got[len(got)-1]
	}
	require.Equal(t, []string{"a-z", "a0", "ab", "az", "b-1", "b1"}, got)
}

func changeTouchesNamedFieldsOnly(t *testing.T, f *fixture) {
	base := instance("acme")
	base.Retention = 48 * time.Hour
	f.createInstance(t, base)
	f.createInstance(t, instance("other"))
	later := start.Add(time.Minute)

	want := base
	want.UpdateTime = later
	steps := []struct {
		name   string
		change store.InstanceChange
		effect func()
	}{
		{"nothing", store.InstanceChange{}, func() {}},
		{"name", store.InstanceChange{DisplayName: ptr("x")}, func() { want.DisplayName = "x" }},
		{"zone", store.InstanceChange{TimeZone: ptr("Europe/Lisbon")}, func() { want.TimeZone = "Europe/Lisbon" }},
		{"timeout", store.InstanceChange{InactivityTimeout: ptr(time.Minute)}, func() { want.InactivityTimeout = time.Minute }},
		{"no retention", store.InstanceChange{Retention: ptr(time.Duration(0))}, func() { want.Retention = 0 }},
		{"retention", store.InstanceChange{Retention: ptr(72 * time.Hour)}, func() { want.Retention = 72 * time.Hour }},
	}
	for _, step := range steps {
		step.change.UpdateTime = later
		step.effect()
		got, err := f.store.ChangeInstance(t.Context(), "acme", step.change)
		require.NoError(t, err, step.name)
		require.Equal(t, want, got, step.name)
		stored, err := f.store.Instance(t.Context(), "acme")
		require.NoError(t, err, step.name)
		require.Equal(t, want, stored, step.name)
	}

	other, err := f.store.Instance(t.Context(), "other")
	require.NoError(t, err)
	require.Equal(t, instance("other"), other)
	_, err = f.store.ChangeInstance(t.Context(), "nobody", store.InstanceChange{UpdateTime: later})
	require.ErrorIs(t, err, store.ErrInstanceNotFound)
}

func ptr[T any](v T) *T { return &v }
