package webhook

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAcknowledges(t *testing.T) {
	for body, want := range map[string]bool{
		`{"status":"ok"}`:                                   true,
		` {"status" : "ok"} `:                               true,
		"\r\n{\"status\":\"ok\"}\n":                         true,
		"\ufeff" + `{"status":"ok"}`:                        true,
		`{"id":[1,{"status":"no"}],"status":"ok","x":null}`: true,
		`{"\u0073tatus":"\u006fk"}`:                         true,
		`{"status":"ok","status":"ok"}`:                     true,
		`{"a":1,"a":2,"status":"ok"}`:                       true,
		`{"status":"ok","status":"error"}`:                  false,
		`{"status":"error","status":"ok"}`:                  false,
		``:                                                  false,
		`ok`:                                                false,
		`"ok"`:                                              false,
		`null`:                                              false,
		`[{"status":"ok"}]`:                                 false,
		`{}`:                                                false,
		`{"status":"OK"}`:                                   false,
		`{"Status":"ok"}`:                                   false,
		`{"status":"ok "}`:                                  false,
		`{"status":true}`:                                   false,
		`{"status":null}`:                                   false,
		`{"status":{"status":"ok"}}`:                        false,
		`{"result":{"status":"ok"}}`:                        false,
		`{"status":"ok"`:                                    false,
		`{"status":"ok",}`:                                  false,
		`{"status":"ok"}}`:                                  false,
		`{"status":"ok"}{"status":"ok"}`:                    false,
		`{"status":"ok"} x`:                                 false,
		`{status:"ok"}`:                                     false,
		`{'status':'ok'}`:                                   false,
		`{"a":` + strings.Repeat("[", 60000):                false,
		"\x00":                                              false,
	} {
		require.Equal(t, want, acknowledges([]byte(body)), body[:min(len(body), 60)])
	}
}

func FuzzAcknowledges(f *testing.F) {
	for _, body := range []string{`{"status":"ok"}`, `{"a":1,"status":"ok"}`, `{"status":"ok"}x`, `[]`, "\ufeff{}"} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !acknowledges(body) {
			return
		}
		var object map[string]any
		require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(string(body), "\ufeff")), &object))
		require.Equal(t, "ok", object["status"])
	})
}
