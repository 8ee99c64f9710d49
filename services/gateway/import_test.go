package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const importPath = "/v1/instances/acme/attendances:import"

func goodImport(text string) string {
	return `{"attendances":[{"externalId":"x","identifier":"ana","assistantId":"1","source":"widget","createTime":"2020-06-01T12:00:00Z","attributes":{"cpf":"1"},` +
		`"history":[{"time":"2020-06-01T12:00:01.5Z","sender":"bot","messages":[{"text":{"text":"` + text + `"}}]}],"events":[{"time":"2020-06-01T12:00:02Z","eventName":"e","details":{"a":"b"}}]}]}`
}

func TestImport(t *testing.T) {
	h := newHarness(t, Config{})
	h.fakes.importAll = func(_ context.Context, r *contactsv1.ImportAttendancesRequest) (*contactsv1.ImportAttendancesResponse, error) {
		a := r.GetAttendances()[0]
		return &contactsv1.ImportAttendancesResponse{Attendances: []*contactsv1.ImportedAttendanceResult{{
			ExternalId: a.GetExternalId(), Id: int64(len(a.GetHistory()[0].GetMessages()[0].GetText().GetText())), InteractionId: "64a1", ContactId: "64a2", Created: true,
		}}}, nil
	}
	key := "Authorization: Bearer " + manageKey
	got := h.do(t, "POST", importPath, goodImport("oi"), key)
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, `{"attendances":[{"externalId":"x","id":"2","interactionId":"64a1","contactId":"64a2","created":true}]}`, got.body)

	for body, names := range map[string][]string{
		strings.Replace(goodImport("oi"), `"externalId":"x"`, `"externalId":7,"more":1`, 1):      {"attendances[0].externalId", "attendances[0].more"},
		strings.Replace(goodImport("oi"), `"sender":"bot"`, `"sender":"robot","mood":"good"`, 1): {"attendances[0].history[0].mood", "attendances[0].history[0].sender"},
		strings.Replace(goodImport("oi"), `"2020-06-01T12:00:00Z"`, `"yesterday"`, 1):            {"attendances[0].createTime"},
		strings.Replace(goodImport(""), `"identifier":"ana",`, ``, 1):                            {"attendances[0].identifier", "attendances[0].history[0].messages[0].text.text"},
		`{"attendances":[7,null,{"externalId":"x"}]}`:                                            {"attendances[0]", "attendances[1]", "attendances[2].identifier", "attendances[2].assistantId", "attendances[2].source", "attendances[2].createTime"},
		`{}`:                   {"attendances"},
		`{"attendances":[{}]}`: {"attendances[0].externalId", "attendances[0].identifier", "attendances[0].assistantId", "attendances[0].source", "attendances[0].createTime"},
	} {
		got := h.do(t, "POST", importPath, body, key)
		require.Equal(t, 400, got.status, got.body)
		require.ElementsMatch(t, names, got.names(t), got.body)
	}
	h.fakes.check = func(request any) []rpcerr.Violation {
		list := request.(*contactsv1.ImportAttendancesRequest).GetAttendances()
		return []rpcerr.Violation{{Field: "attendances[0].finishTime", Reason: "of " + list[0].GetIdentifier()}}
	}
	got = h.do(t, "POST", importPath, strings.Replace(goodImport("oi"), `"externalId":"x"`, `"externalId":7`, 1), key)
	require.ElementsMatch(t, []string{"attendances[0].externalId", "attendances[0].finishTime"}, got.names(t), "what the service alone knows comes with it")
	require.Equal(t, 404, h.do(t, "POST", "/v1/instances/other/attendances:import", `{"attendances":7}`, key).status)
	require.Equal(t, 404, h.do(t, "POST", "/v1/instances/other/attendances:import", goodImport("oi"), key).status)
	require.Equal(t, 401, h.do(t, "POST", importPath, goodImport("oi")).status)
	require.Equal(t, 403, h.do(t, "POST", importPath, goodImport("oi"), "Authorization: Bearer "+contactsKey).status)
	require.Equal(t, 405, h.do(t, "GET", importPath, "", key).status)
}

// An import is the one call whose body may be larger than 256 KiB.
func TestImportOfMuch(t *testing.T) {
	h := newHarness(t, Config{})
	size := 0
	h.fakes.importAll = func(_ context.Context, r *contactsv1.ImportAttendancesRequest) (*contactsv1.ImportAttendancesResponse, error) {
		size = len(r.GetAttendances())
		return &contactsv1.ImportAttendancesResponse{}, nil
	}
	key := "Authorization: Bearer " + manageKey
	body := goodImport(strings.Repeat("x", 9000))
	one := strings.TrimSuffix(strings.TrimPrefix(body, `{"attendances":[`), `]}`)
	many := `{"attendances":[` + strings.Repeat(one+",", MaxImport/len(one)-1) + one + `]}`
	full := many + strings.Repeat(" ", MaxImport-len(many))
	got := h.do(t, "POST", importPath, full, key)
	require.Equal(t, 200, got.status)
	require.Greater(t, size, 400)
	got = h.do(t, "POST", importPath, full+" ", key)
	require.Equal(t, 413, got.status)
	require.Contains(t, got.body, `"detail":"The body is larger than 4 MiB"`)
	require.Equal(t, 413, h.do(t, "POST", "/v1/instances/acme/channels", full[:MaxBody+1], key).status)
}

// Few imports run at once, because each may be large.
func TestImportsAtOnce(t *testing.T) {
	h := newHarness(t, Config{})
	entered, leave := make(chan struct{}), make(chan struct{})
	h.fakes.importAll = func(context.Context, *contactsv1.ImportAttendancesRequest) (*contactsv1.ImportAttendancesResponse, error) {
		entered <- struct{}{}
		<-leave
		return &contactsv1.ImportAttendancesResponse{}, nil
	}
	key := "Authorization: Bearer " + manageKey
	answers := make(chan int)
	for range maxImports {
		go func() {
			request, err := http.NewRequest("POST", "http://"+h.address+importPath, strings.NewReader(goodImport("oi")))
			if err == nil {
				request.Header.Set("Content-Type", "application/json")
				request.Header.Set("Authorization", "Bearer "+manageKey)
				if response, err := h.client.Do(request); err == nil {
					_ = response.Body.Close()
					answers <- response.StatusCode
					return
				}
			}
			answers <- 0
		}()
		<-entered
	}
	got := h.do(t, "POST", importPath, goodImport("oi"), key)
	require.Equal(t, 503, got.status)
	require.Equal(t, "1", got.header.Get("Retry-After"))
	close(leave)
	for range maxImports {
		require.Equal(t, 200, <-answers)
	}
	go func() { <-entered }()
	require.Equal(t, 200, h.do(t, "POST", importPath, goodImport("oi"), key).status)
}
