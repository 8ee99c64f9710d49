package accounts_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/grpcserver"
)

func requireProto(t *testing.T, want, got proto.Message) {
	t.Helper()
	require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
}

func TestCreateInstanceFillsDefaults(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		want := &accountsv1.Instance{
			Slug: "acme", DisplayName: "acme", TimeZone: "America/Sao_Paulo", InactivityTimeout: durationpb.New(24 * time.Hour),
			CreateTime: timestamppb.New(start), UpdateTime: timestamppb.New(start),
		}
		requireProto(t, want, f.createInstance(t, "acme"))

		got, err := f.manage.GetInstance(t.Context(), &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.NoError(t, err)
		requireProto(t, want, got.GetInstance())
		looked, err := f.identity.LookupInstance(t.Context(), &accountsv1.LookupInstanceRequest{Instance: "acme"})
		require.NoError(t, err)
		requireProto(t, want, looked.GetInstance())

		_, err = f.manage.CreateInstance(t.Context(), &accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{Slug: "acme"}})
		requireFailure(t, err, codes.AlreadyExists, "INSTANCE_EXISTS")
	})
}

func TestCreateInstanceIgnoresWhatTheServiceSets(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		response, err := f.manage.CreateInstance(t.Context(), &accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{
			Slug: "acme", CreateTime: timestamppb.New(start.Add(-time.Hour)), UpdateTime: timestamppb.New(start.Add(time.Hour)),
			Retention: durationpb.New(24 * time.Hour), TimeZone: "Asia/Kathmandu",
		}})
		require.NoError(t, err)
		require.Equal(t, start, response.GetInstance().GetCreateTime().AsTime())
		require.Equal(t, start, response.GetInstance().GetUpdateTime().AsTime())
		require.Equal(t, 24*time.Hour, response.GetInstance().GetRetention().AsDuration())
		require.Equal(t, "Asia/Kathmandu", response.GetInstance().GetTimeZone())
	})
}

func TestCreateInstanceLimits(t *testing.T) {
	tests := map[string]struct {
		instance *accountsv1.Instance
		fields   []string
	}{
		"slug of 2":          {&accountsv1.Instance{Slug: "ab"}, nil},
		"slug of 1":          {&accountsv1.Instance{Slug: "a"}, []string{"instance.slug"}},
		"slug of 63":         {&accountsv1.Instance{Slug: strings.Repeat("a", 63)}, nil},
		"slug of 64":         {&accountsv1.Instance{Slug: strings.Repeat("a", 64)}, []string{"instance.slug"}},
		"slug upper case":    {&accountsv1.Instance{Slug: "Acme"}, []string{"instance.slug"}},
		"slug with newline":  {&accountsv1.Instance{Slug: "acme\n"}, []string{"instance.slug"}},
		"slug taken by path": {&accountsv1.Instance{Slug: "webhooks"}, []string{"instance.slug"}},
		"no slug":            {&accountsv1.Instance{}, []string{"instance.slug"}},
		"name of 256":        {&accountsv1.Instance{Slug: "n256", DisplayName: strings.Repeat("ã", 256)}, nil},
		"name of 257":        {&accountsv1.Instance{Slug: "n257", DisplayName: strings.Repeat("ã", 257)}, []string{"instance.displayName"}},
		"zone unknown":       {&accountsv1.Instance{Slug: "z1", TimeZone: "America/Nowhere"}, []string{"instance.timeZone"}},
		"zone of machine":    {&accountsv1.Instance{Slug: "z2", TimeZone: "Local"}, []string{"instance.timeZone"}},
		"zone by path":       {&accountsv1.Instance{Slug: "z3", TimeZone: "../etc/passwd"}, []string{"instance.timeZone"}},
		"timeout of 60 s":    {&accountsv1.Instance{Slug: "t60", InactivityTimeout: durationpb.New(time.Minute)}, nil},
		"timeout below 60 s": {&accountsv1.Instance{Slug: "t59", InactivityTimeout: durationpb.New(time.Minute - 1)}, []string{"instance.inactivityTimeout"}},
		"retention 1 day":    {&accountsv1.Instance{Slug: "r1", Retention: durationpb.New(24 * time.Hour)}, nil},
		"retention less":     {&accountsv1.Instance{Slug: "r0", Retention: durationpb.New(24*time.Hour - 1)}, []string{"instance.retention"}},
		"retention 10 years": {&accountsv1.Instance{Slug: "r10", Retention: durationpb.New(3650 * 24 * time.Hour)}, nil},
		"retention more":     {&accountsv1.Instance{Slug: "r11", Retention: durationpb.New(3650*24*time.Hour + 1)}, []string{"instance.retention"}},
	}
	eachEngine(t, func(t *testing.T, f *fixture) {
		for name, test := range tests {
			_, err := f.manage.CreateInstance(t.Context(), &accountsv1.CreateInstanceRequest{Instance: test.instance})
			if test.fields == nil {
				require.NoError(t, err, name)
				continue
			}
			requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", test.fields...)
		}
	})
}

func TestCreateInstanceIdempotency(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		ctx := withIdempotencyKey(t, "one")
		request := &accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{Slug: "acme"}}
		first, err := f.manage.CreateInstance(ctx, request)
		require.NoError(t, err)
		f.clock.Advance(time.Hour)
		again, err := f.manage.CreateInstance(ctx, request)
		require.NoError(t, err)
		requireProto(t, first, again)

		_, err = f.manage.CreateInstance(ctx, &accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{Slug: "other"}})
		requireFailure(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
		_, err = f.manage.GetInstance(t.Context(), &accountsv1.GetInstanceRequest{Instance: "other"})
		requireFailure(t, err, codes.NotFound, "INSTANCE_NOT_FOUND")

		// A refused create leaves the key free.
		ctx = withIdempotencyKey(t, "two")
		_, err = f.manage.CreateInstance(ctx, request)
		requireFailure(t, err, codes.AlreadyExists, "INSTANCE_EXISTS")
		_, err = f.manage.CreateInstance(ctx, &accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{Slug: "second"}})
		require.NoError(t, err)

		_, err = f.manage.CreateInstance(withIdempotencyKey(t, strings.Repeat("k", 255)),
			&accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{Slug: "long"}})
		require.NoError(t, err)
		_, err = f.manage.CreateInstance(withIdempotencyKey(t, strings.Repeat("k", 256)),
			&accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{Slug: "longer"}})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "Idempotency-Key")
	})
}

func TestGetInstanceNotFound(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		for _, slug := range []string{"nobody", "UPPER", "with\x00nul", "'; DROP TABLE instance; --"} {
			_, err := f.manage.GetInstance(t.Context(), &accountsv1.GetInstanceRequest{Instance: slug})
			requireFailure(t, err, codes.NotFound, "INSTANCE_NOT_FOUND")
			_, err = f.identity.LookupInstance(t.Context(), &accountsv1.LookupInstanceRequest{Instance: slug})
			requireFailure(t, err, codes.NotFound, "INSTANCE_NOT_FOUND")
			_, err = f.manage.UpdateInstance(t.Context(), &accountsv1.UpdateInstanceRequest{Slug: slug, Instance: &accountsv1.Instance{DisplayName: "x"}})
			requireFailure(t, err, codes.NotFound, "INSTANCE_NOT_FOUND")
			_, err = f.manage.ListApiKeys(t.Context(), &accountsv1.ListApiKeysRequest{Instance: slug})
			requireFailure(t, err, codes.NotFound, "INSTANCE_NOT_FOUND")
			_, err = f.manage.CreateApiKey(t.Context(), keyRequest(slug, "manage"))
			requireFailure(t, err, codes.NotFound, "INSTANCE_NOT_FOUND")
		}
	})
}

func TestListInstancesWalk(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		for n := range 5 {
			f.createInstance(t, fmt.Sprintf("i%d", n))
		}
		var seen []string
		token := ""
		for page := 0; ; page++ {
			response, err := f.manage.ListInstances(t.Context(), &accountsv1.ListInstancesRequest{PageSize: 2, PageToken: token})
			require.NoError(t, err)
			for _, i := range response.GetInstances() {
				seen = append(seen, i.GetSlug())
			}
			if page == 0 {
				f.createInstance(t, "a-new-one") // before the place of the walk: not shown, and nothing shown twice
			}
			if token = response.GetNextPageToken(); token == "" {
				break
			}
		}
		require.Equal(t, []string{"i0", "i1", "i2", "i3", "i4"}, seen)

		all, err := f.manage.ListInstances(t.Context(), &accountsv1.ListInstancesRequest{})
		require.NoError(t, err)
		require.Len(t, all.GetInstances(), 6)
		require.Empty(t, all.GetNextPageToken(), "the default page has room for 50")
		exact, err := f.manage.ListInstances(t.Context(), &accountsv1.ListInstancesRequest{PageSize: 6})
		require.NoError(t, err)
		require.Empty(t, exact.GetNextPageToken(), "a full last page has no next one")
	})
}

func TestListInstancesRefusesTokens(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "i1")
		f.createInstance(t, "i2")
		f.createKey(t, "i1", "manage")
		f.createKey(t, "i1", "manage")
		instances, err := f.manage.ListInstances(t.Context(), &accountsv1.ListInstancesRequest{PageSize: 1})
		require.NoError(t, err)
		token := instances.GetNextPageToken()
		keys, err := f.manage.ListApiKeys(t.Context(), &accountsv1.ListApiKeysRequest{Instance: "i1", PageSize: 1})
		require.NoError(t, err)

		for name, bad := range map[string]string{
			"forged": "forged", "cut": token[:len(token)-1], "longer": token + "A", "of another list": keys.GetNextPageToken(),
		} {
			_, err := f.manage.ListInstances(t.Context(), &accountsv1.ListInstancesRequest{PageToken: bad})
			require.Error(t, err, name)
			requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "pageToken")
		}
		_, err = f.manage.ListApiKeys(t.Context(), &accountsv1.ListApiKeysRequest{Instance: "i2", PageToken: keys.GetNextPageToken()})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "pageToken")
		_, err = f.manage.ListApiKeys(t.Context(), &accountsv1.ListApiKeysRequest{Instance: "i1", PageToken: token})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "pageToken")

		f.clock.Advance(24*time.Hour - time.Second)
		_, err = f.manage.ListInstances(t.Context(), &accountsv1.ListInstancesRequest{PageToken: token})
		require.NoError(t, err)
		f.clock.Advance(time.Second)
		_, err = f.manage.ListInstances(t.Context(), &accountsv1.ListInstancesRequest{PageToken: token})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "pageToken")

		_, err = f.manage.ListInstances(t.Context(), &accountsv1.ListInstancesRequest{PageSize: 500})
		require.NoError(t, err)
		_, err = f.manage.ListInstances(t.Context(), &accountsv1.ListInstancesRequest{PageSize: 501})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "pageSize")
	})
}

func TestUpdateInstance(t *testing.T) {
	full := &accountsv1.Instance{
		Slug: "acme", DisplayName: "Acme", TimeZone: "Europe/Lisbon",
		InactivityTimeout: durationpb.New(time.Hour), Retention: durationpb.New(48 * time.Hour),
	}
	tests := []struct {
		name     string
		instance *accountsv1.Instance
		mask     []string
		change   func(want *accountsv1.Instance)
	}{
		{"one field of the mask", &accountsv1.Instance{DisplayName: "B", TimeZone: "UTC"}, []string{"display_name"},
			func(i *accountsv1.Instance) { i.DisplayName = "B" }},
		{"without a mask the set fields", &accountsv1.Instance{TimeZone: "UTC", Retention: durationpb.New(72 * time.Hour)}, nil,
			func(i *accountsv1.Instance) { i.TimeZone, i.Retention = "UTC", durationpb.New(72*time.Hour) }},
		{"unset goes back to the default", &accountsv1.Instance{}, []string{"display_name", "time_zone", "inactivity_timeout", "retention"},
			func(i *accountsv1.Instance) {
				i.DisplayName, i.TimeZone, i.InactivityTimeout, i.Retention = "acme", "America/Sao_Paulo", durationpb.New(24*time.Hour), nil
			}},
		{"everything", &accountsv1.Instance{DisplayName: "C"}, []string{"*"},
			func(i *accountsv1.Instance) {
				i.DisplayName, i.TimeZone, i.InactivityTimeout, i.Retention = "C", "America/Sao_Paulo", durationpb.New(24*time.Hour), nil
			}},
		{"own slug and times are passed over", &accountsv1.Instance{Slug: "acme", CreateTime: timestamppb.New(start.Add(-time.Hour))},
			[]string{"slug", "create_time", "update_time"}, func(*accountsv1.Instance) {}},
	}
	eachEngine(t, func(t *testing.T, f *fixture) {
		_, err := f.manage.CreateInstance(t.Context(), &accountsv1.CreateInstanceRequest{Instance: full})
		require.NoError(t, err)
		for _, test := range tests {
			_, err := f.manage.UpdateInstance(t.Context(), &accountsv1.UpdateInstanceRequest{
				Slug: "acme", Instance: full, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"*"}},
			})
			require.NoError(t, err, test.name)
			f.clock.Advance(time.Minute)
			want := proto.CloneOf(full)
			want.CreateTime, want.UpdateTime = timestamppb.New(start), timestamppb.New(f.clock.Now())
			test.change(want)
			got, err := f.manage.UpdateInstance(t.Context(), &accountsv1.UpdateInstanceRequest{
				Slug: "acme", Instance: test.instance, UpdateMask: &fieldmaskpb.FieldMask{Paths: test.mask},
			})
			require.NoError(t, err, test.name)
			requireProto(t, want, got.GetInstance())
		}
	})
}

// What the contract's rules cannot say is known before the handler runs, so that one answer can name it with what they say.
func TestCheckRequest(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		checker, ok := f.server.(grpcserver.Checker)
		require.True(t, ok)
		for name, test := range map[string]struct {
			request any
			fields  []string
		}{
			"instance":        {&accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{TimeZone: "Mars/Base"}}, []string{"instance.timeZone"}},
			"default zone":    {&accountsv1.CreateInstanceRequest{}, nil},
			"update":          {&accountsv1.UpdateInstanceRequest{Slug: "acme", Instance: &accountsv1.Instance{Slug: "other", TimeZone: "x"}}, []string{"instance.slug", "instance.timeZone"}},
			"key":             {&accountsv1.CreateApiKeyRequest{ApiKey: &accountsv1.ApiKey{ExpireTime: timestamppb.New(start)}}, []string{"apiKey.expireTime"}},
			"key for ever":    {&accountsv1.CreateApiKeyRequest{}, nil},
			"another request": {&accountsv1.GetInstanceRequest{}, nil},
		} {
			var fields []string
			for _, v := range checker.CheckRequest(t.Context(), test.request) {
				require.NotEmpty(t, v.Reason)
				fields = append(fields, v.Field)
			}
			require.Equal(t, test.fields, fields, name)
		}
	})
}

func TestUpdateInstanceRefusals(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createInstance(t, "acme")
		_, err := f.manage.UpdateInstance(t.Context(), &accountsv1.UpdateInstanceRequest{
			Slug: "acme", Instance: &accountsv1.Instance{Slug: "other", TimeZone: "Mars/Base"},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"slug", "colour", "time_zone", "display_name"}},
		})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "instance.slug", "updateMask", "instance.timeZone")
		require.ErrorContains(t, err, "bad fields")

		got, err := f.manage.GetInstance(t.Context(), &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.NoError(t, err)
		require.Equal(t, "America/Sao_Paulo", got.GetInstance().GetTimeZone())
		require.Equal(t, start, got.GetInstance().GetUpdateTime().AsTime())
	})
}
