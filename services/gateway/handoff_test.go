package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
)

// The fakes answer calls about attendances with what they were asked.

func (f *fakes) ReplyToAttendance(ctx context.Context, r *channelv1.ReplyToAttendanceRequest) (*channelv1.ReplyToAttendanceResponse, error) {
	f.note(ctx)
	return &channelv1.ReplyToAttendanceResponse{MessageId: fmt.Sprint(r.GetInstance(), " ", r.GetId(), " ", len([]rune(r.GetText())))}, nil
}

func (f *fakes) HandBackAttendance(ctx context.Context, r *agentv1.HandBackAttendanceRequest) (*agentv1.HandBackAttendanceResponse, error) {
	f.note(ctx)
	return &agentv1.HandBackAttendanceResponse{
		Attendance: &agentv1.Attendance{Id: r.GetId(), InteractionId: r.GetInstance(), State: agentv1.Attendance_BOT},
	}, nil
}

func (f *fakes) FinishAttendance(ctx context.Context, r *agentv1.FinishAttendanceRequest) (*agentv1.FinishAttendanceResponse, error) {
	f.note(ctx)
	return &agentv1.FinishAttendanceResponse{Attendance: &agentv1.Attendance{
		Id: r.GetId(), InteractionId: r.GetInstance(), State: agentv1.Attendance_FINISHED, FinishTime: timestamppb.New(started),
	}}, nil
}

func TestAttendances(t *testing.T) {
	h := newHarness(t, Config{})
	for path, want := range map[string]string{
		"3213:handBack": `{"id":"3213","interactionId":"acme","state":"BOT"}`,
		"3213:finish":   `{"id":"3213","interactionId":"acme","state":"FINISHED","finishTime":"2024-01-15T10:30:00Z"}`,
	} {
		for _, body := range []string{"", "{}"} {
			got := h.do(t, http.MethodPost, "/v1/instances/acme/attendances/"+path, body, bearer)
			require.Equal(t, http.StatusOK, got.status, got.body)
			require.Equal(t, want, got.body)
		}
		got := h.do(t, http.MethodPost, "/v1/instances/acme/attendances/"+path, `{"id":7,"force":true}`, bearer)
		require.Equal(t, http.StatusBadRequest, got.status, got.body)
		require.Equal(t, []string{"id", "force"}, got.names(t))
	}
	got := h.do(t, http.MethodPost, "/v1/instances/acme/attendances/9007199254740993:reply", `{"text":"olá"}`, bearer, "Idempotency-Key: k")
	require.Equal(t, `{"messageId":"acme 9007199254740993 3"}`, got.body)
	seen, _, _ := h.fakes.seen()
	require.Equal(t, []string{"k"}, seen.Get("idempotency-key"))
}

func TestReplyLimits(t *testing.T) {
	h := newHarness(t, Config{})
	for name, test := range map[string]struct {
		body    string
		invalid []string
	}{
		"longest":        {`{"text":"` + strings.Repeat("ã", 10_000) + `"}`, nil},
		"one too long":   {`{"text":"` + strings.Repeat("ã", 10_001) + `"}`, []string{"text"}},
		"empty":          {`{"text":""}`, []string{"text"}},
		"none":           {``, []string{"text"}},
		"NUL":            {`{"text":"a\u0000"}`, []string{"text"}},
		"what is not it": {`{"text":"a","origin":"bot"}`, []string{"origin"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.do(t, http.MethodPost, "/v1/instances/acme/attendances/1:reply", test.body, bearer)
			if test.invalid == nil {
				require.Equal(t, http.StatusOK, got.status, got.body)
				return
			}
			require.Equal(t, http.StatusBadRequest, got.status, got.body)
			require.Equal(t, test.invalid, got.names(t))
		})
	}
}

// A number in the path that is none is named like every bad field.
func TestNumbersOfAttendances(t *testing.T) {
	h := newHarness(t, Config{})
	for id, status := range map[string]int{
		"1": 200, "9223372036854775807": 200, "9223372036854775808": 400, "0": 400, "-1": 400, "x": 400, "1.5": 400, "%31": 200, "0x1": 400,
	} {
		for _, verb := range []string{"finish", "handBack", "reply"} {
			got := h.do(t, http.MethodPost, "/v1/instances/acme/attendances/"+id+":"+verb, map[bool]string{true: `{"text":"olá"}`}[verb == "reply"], bearer)
			require.Equal(t, status, got.status, "%s: %s", id, got.body)
			if status == http.StatusBadRequest {
				require.Equal(t, []string{"id"}, got.names(t), id)
				require.Contains(t, got.body, `"reason":"REQUEST_INVALID"`)
			}
		}
	}
	require.Equal(t, http.StatusUnauthorized, h.do(t, http.MethodPost, "/v1/instances/acme/attendances/1:finish", "").status)
	require.Equal(t, http.StatusMethodNotAllowed, h.do(t, http.MethodGet, "/v1/instances/acme/attendances/1:finish", "", bearer).status)
	require.Equal(t, http.StatusNotFound, h.do(t, http.MethodPost, "/v1/instances/acme/attendances/1:open", "", bearer).status)
}
