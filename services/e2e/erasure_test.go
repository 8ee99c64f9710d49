package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// What is planted about one person, in every way that Prosa hears of persons.
const (
	goneName  = "Zoraide Quetzal"
	goneCPF   = "98765432100"
	gonePhone = "5511912345678"
	goneEmail = "zoraide@quetzal.example"
	goneWords = "segredo de mictlantecuhtli"
	// goneIdentifier is what a path must carry to the letter.
	goneIdentifier = "tlaloc/zoraide%41+ç:erase"
)

// gone is all of it.
var gone = []string{goneName, goneCPF, gonePhone, goneEmail, "mictlantecuhtli", "tlaloc"}

// attentive is an agent that keeps what it is told in every place where an agent
// can keep something.
const attentive = `
displayName: Atenta
fallback: start
nodes:
  start:
    set: {contact.name: "{{ input.text }}", contact.cpf: "{{ input.text }}", contact.email: "{{ input.text }}", context.last: "{{ input.text }}"}
    say: [{text: "eco: {{ input.text }}"}, {text: "e mais {{ input.text }}"}]
    event: {name: falou, details: {said: "{{ input.text }}"}}
`

// plantation is an instance with a person of whom everything is known, and
// another of whom everything must stay.
type plantation struct {
	client *harness.Client
	setup  harness.Setup
	deaf   string // a channel whose receiver refuses everything
	bot    struct{ ID, Token string }
}

func (p *plantation) base() string { return "/v1/instances/" + p.setup.Instance }

// contact is the path of a person.
func (p *plantation) contact(identifier string) string {
	return p.base() + "/contacts/" + strings.ReplaceAll(url.PathEscape(identifier), ":", "%3A")
}

// plant makes both persons known by every surface.
func plant(ctx context.Context, t *testing.T, client *harness.Client) *plantation {
	t.Helper()
	p := &plantation{client: client}
	receiver := receive(t, nil)
	refusing := receive(t, func(d harness.Delivery) (int, string) {
		return http.StatusInternalServerError, "refused: " + string(d.Body)
	})
	var err error
	p.setup, err = client.Create(ctx, fmt.Sprintf("erasure-%d", instances.Add(1)), attentive, receiver.URL, false)
	require.NoError(t, err)
	var channel struct{ ID string }
	fields := map[string]any{"agentId": p.setup.AgentID, "webhookUrl": refusing.URL}
	require.NoError(t, client.Call(ctx, http.MethodPost, p.base()+"/channels", fields, &channel))
	p.deaf = channel.ID
	fields = map[string]any{"agentId": p.setup.AgentID, "version": "V1", "includeContext": true}
	require.NoError(t, client.Call(ctx, http.MethodPost, p.base()+"/botApis", fields, &p.bot))

	p.tell(ctx, t, goneIdentifier, goneWords+" "+goneName+" "+goneCPF+" "+gonePhone+" "+goneEmail)
	p.tell(ctx, t, "bia", "what bia says")
	return p
}

// tell says a text as a person by every surface.
func (p *plantation) tell(ctx context.Context, t *testing.T, identifier, text string) {
	t.Helper()
	for n := range 3 {
		status, _, err := p.client.Send(ctx, p.setup.ChannelID, identifier, fmt.Sprint(text, " ", n), fmt.Sprint(strings.Split(identifier, "/")[0], n))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		say(ctx, t, p.client, p.deaf, identifier, text)
	}
	answer := p.call(ctx, t, http.MethodPost, "/"+p.setup.Instance+"/api/"+p.bot.ID, p.bot.Token, map[string]any{
		"identifier": identifier, "input": map[string]any{"text": text}, "context": map[string]any{"told": text},
	})
	require.Contains(t, answer, "eco: ")

	at := "2020-06-01T12:00:00Z"
	imported := map[string]any{"attendances": []any{map[string]any{
		"externalId": "old " + identifier, "identifier": identifier, "assistantId": 1, "source": "widget", "createTime": at,
		"attributes": map[string]any{"name": text, "nickname": text, "phone": text},
		"history":    []any{map[string]any{"time": at, "sender": "user", "messages": []any{map[string]any{"text": map[string]any{"text": text}}}}},
		"events":     []any{map[string]any{"time": at, "eventName": "antigo", "extra1": text, "details": map[string]any{"said": text}}},
	}}}
	require.NoError(t, p.client.Call(ctx, http.MethodPost, p.base()+"/attendances:import", imported, nil))

	var made struct {
		ID string `json:"id"`
	}
	created := p.call(ctx, t, http.MethodPost, "/conversation/create/"+p.setup.AgentID, p.setup.Key, map[string]any{
		"identifier": identifier, "meta": map[string]any{"who": text},
	})
	require.NoError(t, json.Unmarshal([]byte(created), &made), created)
	require.NotEmpty(t, made.ID, created)
	completed := p.call(ctx, t, http.MethodPost, "/conversation/complete/"+made.ID, p.setup.Key, map[string]any{"text": text})
	p.call(ctx, t, http.MethodPost, "/conversation/survey/"+made.ID, p.setup.Key, map[string]any{"survey": 5})
	require.NoError(t, json.Unmarshal([]byte(completed), &made), completed)
	p.call(ctx, t, http.MethodPost, "/conversation/message/feedback/"+made.ID, p.setup.Key, map[string]any{"feedback": "like"})
	// One in which nothing is said.
	p.call(ctx, t, http.MethodPost, "/conversation/create/"+p.setup.AgentID, p.setup.Key, map[string]any{
		"identifier": identifier, "meta": map[string]any{"who": text},
	})
}

// call makes a call of a documented surface, and gives the answer.
func (p *plantation) call(ctx context.Context, t *testing.T, method, path, token string, value any) string {
	t.Helper()
	status, answer := p.try(ctx, t, method, path, token, value)
	require.Equal(t, 2, status/100, "%s: %d %s", path, status, answer)
	return answer
}

func (p *plantation) try(ctx context.Context, t *testing.T, method, path, token string, value any) (status int, answer string) {
	t.Helper()
	body, err := json.Marshal(value)
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(ctx, method, p.client.Base+path, strings.NewReader(string(body)))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", token)
	if strings.HasPrefix(token, "psk_") || token == harness.RootKey {
		request.Header.Set("Authorization", "Bearer "+token)
		request.Header.Set("X-Api-Key", token)
	}
	response, err := p.client.HTTP.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(content)
}

// settled waits until all that was said is answered, delivered as far as it can
// be, and recorded.
func (p *plantation) settled(ctx context.Context, t *testing.T, prosa *harness.Process) {
	t.Helper()
	untilMetrics(ctx, t, prosa, func(values map[string]float64) bool {
		return conserved(values) && values["prosa_channel_messages_pending"] == 0 && values["prosa_agent_record_pending"] == 0 &&
			values[`prosa_channel_delivery_attempts_total{outcome="status"}`] >= 2 && values[`prosa_channel_deliveries_total{state="delivered"}`] >= 12
	})
}

// erased erases the person, and gives the counts.
func (p *plantation) erased(ctx context.Context, t *testing.T, dryRun bool) map[string]string {
	t.Helper()
	var answer struct {
		Counts    map[string]string
		DryRun    bool
		EraseTime string
	}
	require.NoError(t, p.client.Call(ctx, http.MethodPost, p.contact(goneIdentifier)+":erase", map[string]any{"dryRun": dryRun}, &answer))
	require.Equal(t, dryRun, answer.DryRun)
	require.Equal(t, dryRun, answer.EraseTime == "")
	return answer.Counts
}

// bystander checks that the other person is as before.
func (p *plantation) bystander(ctx context.Context, t *testing.T, before string) string {
	t.Helper()
	document := p.call(ctx, t, http.MethodGet, p.contact("bia"), harness.RootKey, nil)
	require.Contains(t, document, "what bia says")
	if before != "" {
		require.JSONEq(t, stable(t, before), stable(t, document))
	}
	return document
}

// stable is a document without what is noted about conversations behind their
// turns, by and by.
func stable(t *testing.T, document string) string {
	t.Helper()
	var all map[string]any
	require.NoError(t, json.Unmarshal([]byte(document), &all))
	for _, conversation := range all["conversations"].([]any) {
		delete(conversation.(map[string]any), "records")
	}
	text, err := json.Marshal(all)
	require.NoError(t, err)
	return string(text)
}

// TestErasure checks "a person's rights": everything is shown, counted and
// erased, nothing of it is left in any table, index or file, and no log has it.
func TestErasure(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, settings map[string]string) {
		t.Parallel()
		ctx := harness.Within(t, 2*time.Minute)
		settings["retry-schedule"], settings["log-level"] = "1h", "debug"
		prosa := start(t, harness.Spec{Settings: settings})
		p := plant(ctx, t, clientOf(t, prosa))
		p.settled(ctx, t, prosa)
		require.NotEmpty(t, traces(ctx, t, settings, gone), "else this test shows nothing")
		bystander := p.bystander(ctx, t, "")

		document := p.call(ctx, t, http.MethodGet, p.contact(goneIdentifier), harness.RootKey, nil)
		for _, planted := range gone {
			require.Contains(t, document, planted)
		}
		var sections map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(document), &sections))
		for section, least := range map[string]int{"attendances": 5, "conversations": 5, "messages": 7, "deliveries": 12} {
			var list []any
			require.NoError(t, json.Unmarshal(sections[section], &list), section)
			require.GreaterOrEqual(t, len(list), least, section)
		}
		status, answer := p.try(ctx, t, http.MethodGet, p.contact("nobody"), harness.RootKey, nil)
		require.Equal(t, http.StatusNotFound, status)
		require.Contains(t, answer, `"CONTACT_NOT_FOUND"`)

		counted := p.erased(ctx, t, true)
		now := p.call(ctx, t, http.MethodGet, p.contact(goneIdentifier), harness.RootKey, nil)
		require.JSONEq(t, stable(t, document), stable(t, now), "counting changes nothing")
		counts := p.erased(ctx, t, false)
		require.Equal(t, counted, counts)
		require.Equal(t, "1", counts["contacts"])
		require.Equal(t, "7", counts["messages"])

		require.Empty(t, traces(ctx, t, settings, gone))
		require.Empty(t, has(newBackup(ctx, t, settings), gone), "a new backup has it")
		status, answer = p.try(ctx, t, http.MethodGet, p.contact(goneIdentifier), harness.RootKey, nil)
		require.Equal(t, http.StatusNotFound, status, answer)
		status, answer = p.try(ctx, t, http.MethodPost, "/contacts/"+p.setup.Instance, p.setup.Key, map[string]any{"filters": map[string]any{"identifier": goneIdentifier}})
		require.Equal(t, http.StatusNotFound, status, answer)
		p.bystander(ctx, t, bystander)

		// Of somebody who is not known nothing is erased, and that is no error.
		for _, n := range p.erased(ctx, t, false) {
			require.Equal(t, "0", n)
		}
		list := p.call(ctx, t, http.MethodGet, p.base()+"/erasures", harness.RootKey, nil)
		var erasures struct {
			Erasures []struct {
				Person, EraseTime string
				Counts            map[string]string
			}
			NextPageToken string
		}
		require.NoError(t, json.Unmarshal([]byte(list), &erasures))
		require.Len(t, erasures.Erasures, 2)
		require.Equal(t, counts, erasures.Erasures[1].Counts)
		require.Equal(t, erasures.Erasures[0].Person, erasures.Erasures[1].Person)
		require.Empty(t, has([]byte(list), gone))
		page := p.call(ctx, t, http.MethodGet, p.base()+"/erasures?pageSize=1", harness.RootKey, nil)
		require.NoError(t, json.Unmarshal([]byte(page), &erasures))
		require.Len(t, erasures.Erasures, 1)
		page = p.call(ctx, t, http.MethodGet, p.base()+"/erasures?pageSize=1&pageToken="+erasures.NextPageToken, harness.RootKey, nil)
		require.NoError(t, json.Unmarshal([]byte(page), &erasures))
		require.Len(t, erasures.Erasures, 1)
		require.Equal(t, counts, erasures.Erasures[0].Counts)

		// Who comes back is a new person.
		say(ctx, t, p.client, p.setup.ChannelID, goneIdentifier, "back again")
		untilMetrics(ctx, t, prosa, func(values map[string]float64) bool {
			return conserved(values) && values["prosa_channel_messages_pending"] == 0
		})
		require.Contains(t, p.call(ctx, t, http.MethodGet, p.contact(goneIdentifier), harness.RootKey, nil), "back again")
		p.erased(ctx, t, false)

		require.Empty(t, has([]byte(prosa.Output()), gone), "the log has it")
		require.NoError(t, prosa.Stop())
		require.Empty(t, traces(ctx, t, settings, gone))
	})
}

// newBackup is what a backup that is made now holds. That of PostgreSQL is what its tables hold.
func newBackup(ctx context.Context, t *testing.T, settings map[string]string) []byte {
	t.Helper()
	if settings["database-url"] != "" {
		return nil
	}
	file := filepath.Join(t.TempDir(), "prosa.tar")
	output, err := exec.CommandContext(ctx, binary, "backup", file, "--data-dir="+settings["data-dir"]).CombinedOutput()
	require.NoError(t, err, string(output))
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotEmpty(t, has(content, []string{"bia"}), "else this shows nothing")
	return content
}

// TestErasureWhileTalking erases a person again and again while they write by
// two surfaces, answers are computed and deliveries under way: once they are
// quiet, erasing leaves nothing, and every message and delivery is accounted for.
func TestErasureWhileTalking(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, settings map[string]string) {
		t.Parallel()
		ctx := harness.Within(t, 2*time.Minute)
		settings["retry-schedule"] = "1h"
		prosa := start(t, harness.Spec{Settings: settings})
		p := plant(ctx, t, clientOf(t, prosa))
		p.settled(ctx, t, prosa)
		bystander := p.bystander(ctx, t, "")
		var writers sync.WaitGroup
		quiet := make(chan struct{})
		for n := range 4 {
			writers.Go(func() {
				channels := []string{p.setup.ChannelID, p.deaf}
				for i := 0; ; i++ {
					select {
					case <-quiet:
						return
					default:
					}
					status, _, err := p.client.Send(ctx, channels[(n+i)%2], goneIdentifier, goneWords, "")
					if err != nil || status != http.StatusOK {
						t.Errorf("send: %d %v", status, err)
						return
					}
				}
			})
		}
		for range 8 {
			p.erased(ctx, t, false)
		}
		close(quiet)
		writers.Wait()
		p.erased(ctx, t, false) // with turns and deliveries under way
		values := untilMetrics(ctx, t, prosa, func(values map[string]float64) bool {
			return conserved(values) && values["prosa_channel_messages_pending"] == 0 && values["prosa_agent_record_pending"] == 0
		})
		require.Positive(t, values["prosa_channel_messages_erased_total"]+values[`prosa_channel_deliveries_total{state="erased"}`])
		require.Empty(t, traces(ctx, t, settings, gone))
		status, _ := p.try(ctx, t, http.MethodGet, p.contact(goneIdentifier), harness.RootKey, nil)
		require.Equal(t, http.StatusNotFound, status)
		p.bystander(ctx, t, bystander)
	})
}

// TestErasedStayErased puts older stores back after an erasure: the person is
// gone before anybody is served (I13), also where one store alone is older.
func TestErasedStayErased(t *testing.T) {
	t.Parallel()
	for _, older := range [][]string{{"channel", "agent", "contacts", "accounts"}, {"channel"}, {"contacts"}} {
		t.Run(strings.Join(older, "+"), func(t *testing.T) {
			t.Parallel()
			ctx := harness.Within(t, 2*time.Minute)
			settings := map[string]string{"data-dir": t.TempDir(), "retry-schedule": "1h"}
			prosa := start(t, harness.Spec{Settings: settings})
			p := plant(ctx, t, clientOf(t, prosa))
			p.settled(ctx, t, prosa)
			require.NoError(t, prosa.Stop())
			kept := make(map[string][]byte)
			for _, store := range older {
				content, err := os.ReadFile(filepath.Join(settings["data-dir"], store+".db"))
				require.NoError(t, err)
				kept[store] = content
			}
			prosa = again(t, prosa)
			p.erased(ctx, t, false)
			require.Empty(t, traces(ctx, t, settings, gone))
			require.NoError(t, prosa.Stop())

			for store, content := range kept {
				path := filepath.Join(settings["data-dir"], store+".db")
				require.NoError(t, os.WriteFile(path, content, 0o600))
				for _, beside := range []string{"-wal", "-shm"} {
					require.NoError(t, os.RemoveAll(path+beside))
				}
			}
			require.NotEmpty(t, traces(ctx, t, settings, gone))
			prosa = again(t, prosa)
			require.Empty(t, traces(ctx, t, settings, gone))
			status, answer := p.try(ctx, t, http.MethodGet, p.contact(goneIdentifier), harness.RootKey, nil)
			require.Equal(t, http.StatusNotFound, status, answer)
			p.bystander(ctx, t, "")
			require.Contains(t, prosa.Output(), "erased again")
			require.Empty(t, has([]byte(prosa.Output()), gone))

			require.NoError(t, prosa.Stop())
			prosa = again(t, prosa)
			require.NotContains(t, prosa.Output(), "erased again", "it is done once")
			require.NoError(t, prosa.Stop())
		})
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		ctx := harness.Within(t, 2*time.Minute)
		settings := map[string]string{"data-dir": t.TempDir(), "retry-schedule": "1h"}
		settings["database-url"] = testkit.Postgres(t)
		settings["erasure-log"] = filepath.Join(settings["data-dir"], "kept.log")
		harness.Migrate(t.Context(), t, binary, settings["database-url"])
		prosa := start(t, harness.Spec{Settings: settings})
		p := plant(ctx, t, clientOf(t, prosa))
		p.settled(ctx, t, prosa)
		require.NoError(t, prosa.Stop())
		older := copyDatabase(ctx, t, settings["database-url"])
		prosa = again(t, prosa)
		p.erased(ctx, t, false)
		require.NoError(t, prosa.Stop())

		settings["database-url"] = older
		require.NotEmpty(t, traces(ctx, t, settings, gone))
		prosa = start(t, harness.Spec{Settings: settings})
		p.client = clientOf(t, prosa)
		require.Empty(t, traces(ctx, t, settings, gone))
		p.bystander(ctx, t, "")
	})
}

// copyDatabase copies a PostgreSQL database that nobody uses, and gives the
// copy's URL.
func copyDatabase(ctx context.Context, t *testing.T, databaseURL string) string {
	t.Helper()
	copied, err := url.Parse(databaseURL)
	require.NoError(t, err)
	from := strings.TrimPrefix(copied.Path, "/")
	to := from + "_older"
	copied.Path = "/postgres"
	db, err := sql.Open("pgx", copied.String())
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.ExecContext(context.WithoutCancel(ctx), "DROP DATABASE IF EXISTS "+to+" WITH (FORCE)")
		require.NoError(t, errors.Join(err, db.Close()))
	})
	_, err = db.ExecContext(ctx, "CREATE DATABASE "+to+" TEMPLATE "+from)
	require.NoError(t, err)
	copied.Path = "/" + to
	return copied.String()
}
