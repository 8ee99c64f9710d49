package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// TestWallsOfEqualInstances has two instances with the same people, attributes,
// external ids, sources, agents and event names, and days, and one attendance
// and event more on one side. Each query with each field, and with every two of
// them, gives what the instance has, as if there were no other. TestWalls
// checks the fields by which something is named with values that differ.
func TestWallsOfEqualInstances(t *testing.T) {
	eachStore(t, func(t *testing.T, settings map[string]string) {
		settings["contacts-rate"], settings["contacts-daily"] = "0", "0"
		prosa := start(t, harness.Spec{Settings: settings})
		management := harness.NewClient(prosa.HTTP)
		t.Cleanup(management.Close)
		keys := map[string]string{}
		for _, instance := range []string{"alone", "left", "right"} { // what left shows is what the one shows that has no twin
			setup, err := management.Create(t.Context(), instance, harness.Echo, "http://127.0.0.1:9/", false)
			require.NoError(t, err)
			keys[instance] = setup.Key
			if instance == "right" { // its numbers are others
				importTwin(t, management, instance, "segredo", time.Date(2019, 5, 1, 15, 0, 0, 0, time.UTC), "segredo")
			}
			importTwin(t, management, instance, "x-1", time.Date(2020, 6, 1, 15, 0, 0, 0, time.UTC), "transbordo")
			importTwin(t, management, instance, "x-2", time.Date(2020, 7, 1, 15, 0, 0, 0, time.UTC), "encerramento")
		}
		ask := func(instance, key, path string, body any) string {
			text, err := json.Marshal(body)
			require.NoError(t, err)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, prosa.HTTP+"/"+path+"/"+instance, bytes.NewReader(text))
			require.NoError(t, err)
			request.Header.Set("x-api-key", key)
			request.Header.Set("Content-Type", "application/json")
			response, err := management.HTTP.Do(request)
			require.NoError(t, err)
			defer func() { require.NoError(t, response.Body.Close()) }()
			answer, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			return fmt.Sprint(response.StatusCode, " ", string(answer))
		}

		asked, found := 0, 0
		for path, fields := range wallFields {
			for i := range fields {
				for j := range i + 1 {
					body := map[string]any{"flags": map[string]bool{"history": true, "events": true}}
					for _, field := range []wallField{fields[j], fields[i]} {
						group, _ := body[field.group].(map[string]any)
						if group == nil {
							group = map[string]any{}
							body[field.group] = group
						}
						group[field.name] = field.value
					}
					left := ask("left", keys["left"], path, body)
					require.Equal(t, ask("alone", keys["alone"], path, body), left, "%s %v", path, body)
					require.NotContains(t, left, "segredo", "%s %v", path, body)
					for _, key := range []string{keys["left"], keys["alone"]} {
						require.Equal(t, `401 {"message":"Unauthorized"}`, strings.TrimSpace(ask("right", key, path, body)), "%s %v", path, body)
					}
					asked++
					if strings.HasPrefix(left, "200") {
						found++
					}
				}
			}
			page := map[string]any{"filters": map[string]any{"limit": 1}}
			var got struct{ Pagination string }
			require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(ask("right", keys["right"], path, page), "200 ")), &got))
			require.NotEmpty(t, got.Pagination)
			page["pagination"] = got.Pagination
			require.Contains(t, ask("left", keys["left"], path, page), `400 {"message":"Bad request","invalidParams":[{"name":"pagination"`)
		}
		require.Greater(t, found, asked/3, "the queries find something")
	})
}

// wallField is a field of a query and a value that something in each instance
// has, or only the other's.
type wallField struct {
	group, name string
	value       any
}

var wallFields = map[string][]wallField{
	"contacts": {
		{"filters", "id", 1}, {"filters", "id", 3}, {"filters", "assistantId", 1}, {"filters", "identifier", "ana"},
		{"filters", "externalId", "x-1"}, {"filters", "externalId", "segredo"}, {"filters", "startDate", "2020-01-01"},
		{"filters", "endDate", "2020-06-30"}, {"filters", "source", "widget"}, {"filters", "source", "segredo"}, {"filters", "limit", 2},
		{"attributes", "cpf", "12345678909"}, {"attributes", "phone", "5511987654321"}, {"attributes", "email", "ana@exemplo.com"},
		{"attributes", "identification_number", "n"}, {"attributes", "identification_number2", "n"},
		{"attributes", "identification_number3", "n"}, {"attributes", "identification_number4", "n"},
		{"attributes", "identification_number4", "segredo"},
	},
	"events": {
		{"filters", "assistantId", 1}, {"filters", "identifier", "ana"}, {"filters", "contactId", 1}, {"filters", "contactId", 3},
		{"filters", "externalId", "x-1"}, {"filters", "externalId", "segredo"}, {"filters", "eventName", "transbordo"},
		{"filters", "eventName", "segredo"}, {"filters", "startDate", "2020-01-01 00:00:00"}, {"filters", "endDate", "2020-06-30 23:59:59"},
		{"filters", "limit", 2}, {"filters", "sort", "ASC"},
	},
}

// importTwin imports an attendance. One of the external id "segredo" has that
// everywhere.
func importTwin(t *testing.T, management *harness.Client, instance, external string, at time.Time, event string) {
	t.Helper()
	source, number, said := "widget", "n", "oi"
	if external == "segredo" {
		source, number, said = "segredo", "segredo", "segredo"
	}
	to := "/v1/instances/" + instance + "/attendances:import"
	err := management.Call(t.Context(), http.MethodPost, to, map[string]any{"attendances": []any{map[string]any{
		"externalId": external, "identifier": "ana", "assistantId": 1, "source": source, "createTime": at,
		"attributes": map[string]string{
			"cpf": "123.456.789-09", "phone": "+55 (11) 98765-4321", "email": "Ana@exemplo.com", "identification_number": "n",
			"identification_number2": "n", "identification_number3": "n", "identification_number4": number,
		},
		"history": []any{map[string]any{"time": at, "sender": "user", "messages": []any{map[string]any{"text": map[string]any{"text": said}}}}},
		"events":  []any{map[string]any{"time": at, "eventName": event, "externalId": external, "details": map[string]string{"said": said}}},
	}}}, nil)
	require.NoError(t, err)
}
