package updatemask_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/updatemask"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var rules = updatemask.Rules{
	Resource:   "instance",
	Changeable: []string{"display_name", "time_zone", "retention"},
	Output:     []string{"create_time", "update_time"},
}

func TestPaths(t *testing.T) {
	for name, test := range map[string]struct {
		instance *accountsv1.Instance
		mask     []string
		want     []string
		bad      []rpcerr.Violation
	}{
		"named, set or not": {&accountsv1.Instance{}, []string{"time_zone", "display_name"}, []string{"time_zone", "display_name"}, nil},
		"named twice":       {&accountsv1.Instance{}, []string{"time_zone", "time_zone"}, []string{"time_zone"}, nil},
		"no mask": {
			&accountsv1.Instance{Retention: &durationpb.Duration{}, DisplayName: "A", CreateTime: &timestamppb.Timestamp{}}, nil,
			[]string{"display_name", "retention"}, nil,
		},
		"no mask and nothing set":  {&accountsv1.Instance{}, nil, nil, nil},
		"no resource":              {nil, nil, nil, nil},
		"no mask and a fixed one":  {&accountsv1.Instance{Slug: "acme"}, nil, nil, []rpcerr.Violation{{Field: "instance.slug", Reason: "cannot be changed"}}},
		"everything":               {&accountsv1.Instance{Slug: "acme"}, []string{"*"}, rules.Changeable, nil},
		"everything and one again": {&accountsv1.Instance{}, []string{"time_zone", "*", "*"}, []string{"time_zone", "display_name", "retention"}, nil},
		"of the service":           {&accountsv1.Instance{}, []string{"create_time", "time_zone", "update_time"}, []string{"time_zone"}, nil},
		"fixed, of another case, no field, below a field": {
			&accountsv1.Instance{}, []string{"inactivity_timeout", "displayName", "colour", "retention.seconds", ""}, nil,
			[]rpcerr.Violation{
				{Field: "instance.inactivityTimeout", Reason: "cannot be changed"},
				{Field: "updateMask", Reason: `has no field "displayName"`},
				{Field: "updateMask", Reason: `has no field "colour"`},
				{Field: "updateMask", Reason: `has no field "retention.seconds"`},
				{Field: "updateMask", Reason: `has no field ""`},
			},
		},
		"too long to show": {
			&accountsv1.Instance{}, []string{strings.Repeat("a", 64), strings.Repeat("b", 65), "\n"}, nil,
			[]rpcerr.Violation{
				{Field: "updateMask", Reason: `has no field "` + strings.Repeat("a", 64) + `"`},
				{Field: "updateMask", Reason: `has no field "` + strings.Repeat("b", 64) + `\u2026"`},
				{Field: "updateMask", Reason: `has no field "\n"`},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, violations := rules.Paths(test.instance, &fieldmaskpb.FieldMask{Paths: test.mask})
			require.Equal(t, test.want, got)
			require.Equal(t, test.bad, violations)
		})
	}
	paths, violations := rules.Paths(&accountsv1.Instance{TimeZone: "UTC"}, nil)
	require.Equal(t, []string{"time_zone"}, paths)
	require.Empty(t, violations)
}
